"""The book: content, and the programs that build it, grade its course and run its experiments."""
