"""A plugin of pytest: keep what nbval's run of a chapter gave, as an executed notebook.

    pytest -p book.tools.nbval_outputs --nbval-lax --executed TARGET CHAPTER

The notebook is written if every cell passed. Solutions, known by `after` in their metadata, have
done their work by then and are left out.
"""

from pathlib import Path

import nbformat
import pytest
from nbval.kernel import RunningKernel

PATIENCE = 600  # seconds for a message of a kernel that is alive, on however busy a machine


def execute_as_jupyter_does(kernel: RunningKernel, source: str, allow_stdin: bool) -> str:
    """Run a cell with history; nbval does without, and IPython then ignores a semicolon."""
    return kernel.kc.execute(source, allow_stdin=allow_stdin, stop_on_error=False)


RunningKernel.execute_cell_input = execute_as_jupyter_does


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option `--executed`."""
    parser.addoption("--executed", type=Path, required=True, help="the notebook to write")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each cell more time to deliver its outputs than nbval's five seconds."""
    for item in items:
        item.output_timeout = PATIENCE  # type: ignore[attr-defined]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the executed notebook if nothing failed."""
    if exitstatus != pytest.ExitCode.OK:
        return
    notebook = session.items[0].parent.nb  # type: ignore[union-attr]
    for item in session.items:
        item.cell.outputs = item.test_outputs  # type: ignore[attr-defined]
    notebook.cells = [cell for cell in notebook.cells if "after" not in cell.metadata]
    code = (cell for cell in notebook.cells if cell.cell_type == "code")
    for number, cell in enumerate(code, start=1):
        cell.execution_count = number
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number
    nbformat.write(notebook, session.config.getoption("--executed"))
