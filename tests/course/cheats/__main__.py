"""Grade cheats in a sandbox, and print a line for each as soon as it is done.

    python -m tests.course.cheats [NAME...] [--jobs 2] [--sandbox KIND]

Without names, all. A line says what the cheat tried, what its work is worth, what it got, what a
teacher is told, and what was left behind. The command ends with 1 if one got more than its work is
worth, was not flagged where its file says so, left a process, or reached the network.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat

from book.course import grading, sandbox
from book.course.submission import Assignment
from tests.course.cheats import Cheat, Listener, cheats, left_behind, number_of_its_own

LIMITS = sandbox.Limits(seconds=120)
ASKED = ("mse", "psnr")  # two cheats show that another question keeps its points


def told(cheat: Cheat, metrics: Assignment, place: sandbox.Sandbox) -> tuple[str, bool]:
    """Grade one cheat; return its line, and whether all is as it should be."""
    token = number_of_its_own()
    with tempfile.TemporaryDirectory() as folder, Listener() as listener:
        file = Path(folder, f"{cheat.name}.ipynb")
        nbformat.write(cheat.notebook(metrics, token=token, port=listener.port), file)
        result = grading.grade(file, metrics, place, ASKED)
        left, asked = len(left_behind(token)), listener.asked
    points = result["points"] or dict.fromkeys(ASKED, "-")
    right = cheat.allows(result) and cheat.flag in result["flags"] and not left and not asked
    worth = "-" if cheat.earns < 0 else f"{cheat.earns:g}"
    cells = [cheat.name, cheat.tries, worth, points["mse"], points["psnr"], result["status"]]
    cells += [result["flags"], left or "nothing", "as it should be" if right else "**NO**"]
    return f"| {' | '.join(map(str, cells))} |", right


def main(names: Iterable[str], jobs: int, kind: str | None) -> int:
    """Print the table; return 0 if every cheat got what it should get."""
    known, metrics = cheats(), Assignment.read("metrics")
    place = sandbox.best(kind, LIMITS)
    print("| cheat | tries | worth | mse | psnr | status | flags | left behind | |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    with ThreadPoolExecutor(jobs) as pool:
        tasks = [pool.submit(told, known[name], metrics, place) for name in names or known]
        lines = []
        for task in tasks:
            lines.append(task.result())
            print(lines[-1][0], flush=True)
    wrong = sum(not right for _, right in lines)
    print(f"\n{len(lines)} cheats, {wrong} not as they should be")
    return min(wrong, 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.course.cheats")
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *cheats()])
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    parser.add_argument("--sandbox", default="bubblewrap", help="default: %(default)s")
    options = parser.parse_args()
    sys.exit(main(options.names, options.jobs, options.sandbox))
