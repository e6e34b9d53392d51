"""The course: archives from masters, leaks, grading, leaderboard."""
