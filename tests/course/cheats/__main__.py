"""Grade every cheat in a sandbox, and print what each tried, got and left behind."""

import tempfile
from pathlib import Path

import nbformat

from book.course import grading, sandbox
from book.course.submission import Assignment
from tests.course.cheats import Listener, cheats, left_behind, number_of_its_own

LIMITS = sandbox.Limits(seconds=240)

if __name__ == "__main__":
    metrics, token = Assignment.read("metrics"), number_of_its_own()
    place = sandbox.best("bubblewrap", LIMITS)
    print("| cheat | tries | status | mse | psnr | flags | left behind |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, Listener() as listener:
        for name, cheat in cheats().items():
            file = Path(folder, f"{name}.ipynb")
            notebook = cheat.notebook(metrics, token=token, port=listener.port)
            nbformat.write(notebook, file)
            result = grading.grade(file, metrics, place)
            points = result["points"] or {"mse": "-", "psnr": "-"}
            left = len(left_behind(token)) or "nothing"
            cells = (name, cheat.tries, result["status"], points["mse"], points["psnr"])
            print(f"| {' | '.join(map(str, cells))} | {result['flags']} | {left} |", flush=True)
    print(f"\nThe network was reached: {'yes' if listener.asked else 'no'}")
