"""``python -m tutorial_lib.course``: run the whole course without a browser.

Every notebook is executed; the executed copy and its HTML go to ``runs/course/``, and the before/after table that the last one measured is
printed at the end. Two notebooks run at a time, each on half of the cores: small models are trained in fewer seconds so than one after the
other on all cores. One that measures time runs alone.
"""

import argparse
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter
from nbconvert.filters import strip_ansi

from tutorial_lib.command import run_command
from tutorial_lib.errors import LabError
from tutorial_lib.profiles import get_profile, runs_dir
from tutorial_lib.publish.without_kernel import static_copy

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
TABLE_TAG = "before-after"  # of the cell whose output is repeated at the end
CELL_TIMEOUT = 3_600  # seconds; a cell that trains the article's model on a GPU takes its time

BESIDE = 2  # notebooks at a time
LONGEST = ("07", "10", "11", "09", "01")  # begun first, so that none is left over at the end
ALONE = ("12",)  # it measures time, and what kept memory saves
AFTER = {"08": "07"}  # 08 asks the model that 07 trains
# For glibc and for PyTorch: keep freed memory (as `speed.keep_freed_memory` does), and ask for large pages. Neither changes a number.
KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
    "MALLOC_TOP_PAD_": str(2**26),
    "THP_MEM_ALLOC_ENABLE": "1",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the notebooks, all or the chosen ones."""
    parser = argparse.ArgumentParser(
        prog="python -m tutorial_lib.course", description="Run the whole course without a browser."
    )
    parser.add_argument(
        "notebooks", nargs="*", help="numbers or names, e.g. 03 or 07_trainer (default: all)"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=NOTEBOOKS,
        help="where the notebooks are (default: the course's own)",
    )
    options = parser.parse_args(arguments)
    chosen = _choose(options.notebooks, options.folder)
    out = runs_dir() / "course"
    out.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    groups, alone = _plan(chosen)
    if groups:
        print(f"{len(chosen)} notebooks, {BESIDE} at a time; a line when one is done", flush=True)
        _run_beside(groups, out)
    _run_in_turn(alone, out)
    print(
        f"\n{len(chosen)} notebooks in {time.perf_counter() - begin:.0f} s; executed notebooks and HTML: {out}\n"
    )
    tables = [
        tagged_output(nbformat.read(out / path.name, as_version=4), TABLE_TAG) for path in chosen
    ]
    print(next((table for table in reversed(tables) if table), ""), end="")


def _plan(chosen: Sequence[Path]) -> tuple[list[list[Path]], list[Path]]:
    """Return groups that may run beside each other, each in turn, and what runs alone afterwards."""
    if get_profile().name == "article" or len(chosen) < 2 or (os.cpu_count() or 1) < BESIDE:
        return [], list(chosen)  # a graphics card holds one large model at a time
    groups: dict[str, list[Path]] = {}
    numbers = [_number(path) for path in chosen]
    for path, number in zip(chosen, numbers, strict=True):
        if number not in ALONE:
            first = AFTER.get(number)
            groups.setdefault(first if first in numbers else number, []).append(path)
    begun_first = [number for number in LONGEST if number in groups]
    ordered = begun_first + [number for number in groups if number not in begun_first]
    return [groups[number] for number in ordered], [
        path for path in chosen if _number(path) in ALONE
    ]


def _run_beside(groups: Sequence[Sequence[Path]], out: Path) -> None:
    """Run groups of notebooks, each in turn; raises what the first that fails raises, and then the others end with this process."""
    environment = {**KEEP_MEMORY, "OMP_NUM_THREADS": str((os.cpu_count() or 1) // BESIDE)}
    waiting, ended = queue.SimpleQueue(), queue.SimpleQueue()
    for group in [*groups, *[None] * BESIDE]:
        waiting.put(group)

    def work() -> None:
        try:
            while group := waiting.get():
                _run_in_turn(group, out, environment)
            ended.put(None)
        except BaseException as error:  # to be raised where it ends the course
            ended.put(error)

    for _ in range(BESIDE):
        threading.Thread(target=work, daemon=True).start()
    for _ in range(BESIDE):
        if (error := ended.get()) is not None:
            raise error


def _run_in_turn(
    chosen: Sequence[Path], out: Path, environment: Mapping[str, str] = MappingProxyType({})
) -> None:
    for path in chosen:
        start = time.perf_counter()
        run_notebook(path, out, environment)
        print(f"{path.stem:<28}{time.perf_counter() - start:>5.0f} s", flush=True)


def run_notebook(
    path: Path, out: Path, environment: Mapping[str, str] = MappingProxyType({})
) -> nbformat.NotebookNode:
    """Execute one notebook and write it, with its HTML, to `out`.

    What was executed is written even when a cell fails, so that its error can be read where it happened. `environment` is added to this
    process's own; when this process ends, the kernel notices and ends too.

    Raises:
        LabError: a cell failed; says which notebook and shows the error's last line.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        # A kernel's own log lines would stand between our progress lines.
        client.execute(env={**os.environ, **environment}, stderr=subprocess.DEVNULL)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        raise LabError(
            f"{path.name} failed: {strip_ansi(str(error)).strip().splitlines()[-1]} (see {out / path.name})"
        ) from None
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


def _number(path: Path) -> str:
    return path.stem.split("_")[0]


def _choose(names: Sequence[str], folder: Path) -> list[Path]:
    available = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not available:
        sys.exit(f"error: no notebooks in {folder}: run this from a checkout of the course")
    chosen = []
    for name in names:
        found = [
            path
            for path in available
            if path.stem == name.removesuffix(".ipynb") or _number(path) == name
        ]
        if not found:
            raise LabError(
                f"no notebook {name!r}: choose from {', '.join(path.stem for path in available)}"
            )
        chosen += found
    return chosen or available


if __name__ == "__main__":
    run_command(main)
