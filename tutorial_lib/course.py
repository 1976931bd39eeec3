"""``python -m tutorial_lib.course``: run the whole course without a browser.

Every notebook is executed in order; the executed copy and its HTML go to ``runs/course/``, and the before/after table that the last one
measured is printed at the end.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter

from tutorial_lib.console import run_command
from tutorial_lib.errors import LabError
from tutorial_lib.profiles import runs_dir
from tutorial_lib.static import static_copy

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
TABLE_TAG = "before-after"  # of the cell whose output is repeated at the end
CELL_TIMEOUT = 3_600  # seconds; a cell that trains the article's model on a GPU takes its time


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the notebooks, all or the chosen ones."""
    parser = argparse.ArgumentParser(prog="python -m tutorial_lib.course", description="Run the whole course without a browser.")
    parser.add_argument("notebooks", nargs="*", help="numbers or names, e.g. 03 or 07_trainer (default: all)")
    options = parser.parse_args(arguments)
    chosen = _choose(options.notebooks)
    out = runs_dir() / "course"
    out.mkdir(parents=True, exist_ok=True)
    table, begin = "", time.perf_counter()
    for number, path in enumerate(chosen, start=1):
        print(f"[{number}/{len(chosen)}] {path.stem} …", end=" ", flush=True)
        start = time.perf_counter()
        notebook = run_notebook(path, out)
        print(f"{time.perf_counter() - start:.0f} s", flush=True)
        table = tagged_output(notebook, TABLE_TAG) or table
    print(f"\n{len(chosen)} notebooks in {time.perf_counter() - begin:.0f} s; executed notebooks and HTML: {out}\n")
    print(table, end="")


def run_notebook(path: Path, out: Path) -> nbformat.NotebookNode:
    """Execute one notebook and write it, with its HTML, to `out`.

    What was executed is written even when a cell fails, so that its error can be read where it happened.

    Raises:
        LabError: a cell failed; says which notebook and shows the error's last line.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=CELL_TIMEOUT, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}})
    try:
        client.execute(stderr=subprocess.DEVNULL)  # a kernel's own log lines would stand between our progress lines
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        raise LabError(f"{path.name} failed: {str(error).strip().splitlines()[-1]} (see {out / path.name})") from None
    finally:
        nbformat.write(notebook, out / path.name)
        html, _ = HTMLExporter().from_notebook_node(static_copy(notebook))
        (out / path.name).with_suffix(".html").write_text(html, encoding="utf-8")
    return notebook


def tagged_output(notebook: nbformat.NotebookNode, tag: str) -> str:
    """Return what the cells with this tag printed."""
    return "".join(
        output.get("text", "")
        for cell in notebook.cells
        if tag in cell.metadata.get("tags", []) and cell.cell_type == "code"
        for output in cell.outputs
        if output.get("name") == "stdout"
    )


def _choose(names: Sequence[str]) -> list[Path]:
    available = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    if not available:
        sys.exit(f"error: no notebooks in {NOTEBOOKS}: run this from a checkout of the course")
    chosen = []
    for name in names:
        found = [path for path in available if path.stem == name.removesuffix(".ipynb") or path.stem.split("_")[0] == name]
        if not found:
            raise LabError(f"no notebook {name!r}: choose from {', '.join(path.stem for path in available)}")
        chosen += found
    return chosen or available


if __name__ == "__main__":
    run_command(main)
