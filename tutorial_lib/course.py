"""``python -m tutorial_lib.course``: run the whole course without a browser.

Executed copies of the notebooks and their HTML go to ``runs/course/``. The last before/after table
is printed at the end. Two notebooks run at a time, each on half of the cores, where small models
train faster than one after the other on all cores. A notebook's metadata says what it needs:
``{"lab": {"after": "07"}}``, ``{"lab": {"alone": true}}`` if it measures time, and its
``"seconds"`` on two cores: the longest begin first, so that none is left over at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from tutorial_lib.command import run_command
from tutorial_lib.errors import LabError
from tutorial_lib.profiles import get_profile, runs_dir

if TYPE_CHECKING:
    import nbformat

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
TABLE_TAG = "before-after"  # of the cell whose output is repeated at the end
CELL_TIMEOUT = 3_600  # seconds; a cell may train the article's model on a GPU
BESIDE = 2  # notebooks at a time
# For glibc and PyTorch: keep freed memory, which the next training step needs again, and ask for
# large pages. No number changes; without them, the course takes 8 % longer.
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
        "--folder", type=Path, default=NOTEBOOKS, help="of notebooks (default: the course's own)"
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
    seconds = time.perf_counter() - begin
    print(f"\n{len(chosen)} notebooks in {seconds:.0f} s; executed notebooks and HTML: {out}\n")
    tables = [tagged_output(_read(out / path.name), TABLE_TAG) for path in chosen]
    print(next((table for table in reversed(tables) if table), ""), end="")


def _plan(chosen: Sequence[Path]) -> tuple[list[list[Path]], list[Path]]:
    """Return groups that may run at the same time, each in turn, and what runs alone afterwards."""
    if get_profile().name == "article" or len(chosen) < 2 or (os.cpu_count() or 1) < BESIDE:
        return [], list(chosen)  # a GPU holds one large model at a time
    needs = {path: _read(path).metadata.get("lab", {}) for path in chosen}
    alone = [path for path in chosen if needs[path].get("alone")]
    beside = [path for path in chosen if path not in alone]
    groups: dict[str, list[Path]] = {}
    for path in sorted(beside, key=lambda path: "after" in needs[path]):  # those come last
        first = needs[path].get("after")
        groups.setdefault(first if first in groups else _number(path), []).append(path)

    def seconds(group: list[Path]) -> int:
        return sum(needs[path].get("seconds", 0) for path in group)

    return sorted(groups.values(), key=seconds, reverse=True), alone


def _run_beside(groups: Sequence[Sequence[Path]], out: Path) -> None:
    """Run groups of notebooks, each in turn; the first failure ends all kernels and is raised."""
    import psutil

    environment = {**KEEP_MEMORY, "OMP_NUM_THREADS": str((os.cpu_count() or 1) // BESIDE)}
    with ThreadPoolExecutor(BESIDE) as pool:
        jobs = [pool.submit(_run_in_turn, group, out, environment) for group in groups]
        try:
            for job in as_completed(jobs):
                job.result()
        except BaseException:
            for job in jobs:
                job.cancel()
            while wait(jobs, timeout=1).not_done:  # a job ends when its kernel is gone
                for kernel in psutil.Process().children():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        kernel.kill()
            raise


def _run_in_turn(
    chosen: Sequence[Path], out: Path, environment: Mapping[str, str] = MappingProxyType({})
) -> None:
    for path in chosen:
        start = time.perf_counter()
        run_notebook(path, out, environment)
        print(f"{path.stem:<28}{time.perf_counter() - start:>5.0f} s", flush=True)


def run_notebook(path: Path, out: Path, environment: Mapping[str, str]) -> None:
    """Execute one notebook and write it, with its HTML, to `out`, even when a cell fails.

    Args:
        path: of the notebook; the kernel runs in its folder.
        out: an existing folder.
        environment: added to this process's own variables.

    Raises:
        LabError: a cell failed; names the notebook and shows the error's last line.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    from nbconvert import HTMLExporter
    from nbconvert.filters import strip_ansi

    from tutorial_lib.publish.without_kernel import static_copy

    notebook = _read(path)
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        # A kernel's log lines would come between our progress lines.
        client.execute(env={**os.environ, **environment}, stderr=subprocess.DEVNULL)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        message = strip_ansi(str(error)).strip().splitlines()[-1]
        raise LabError(f"{path.name} failed: {message} (see {out / path.name})") from None
    finally:
        nbformat.write(notebook, out / path.name)
        html, _ = HTMLExporter().from_notebook_node(static_copy(notebook))
        (out / path.name).with_suffix(".html").write_text(html, encoding="utf-8")


def tagged_output(notebook: nbformat.NotebookNode, tag: str) -> str:
    """Return what the cells with this tag printed."""
    return "".join(
        output.get("text", "")
        for cell in notebook.cells
        if tag in cell.metadata.get("tags", []) and cell.cell_type == "code"
        for output in cell.outputs
        if output.get("name") == "stdout"
    )


def _choose(names: Sequence[str], folder: Path) -> list[Path]:
    """Return the notebooks with these numbers or names, or all, in the order of their numbers."""
    available = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not available:
        raise LabError(f"no notebooks in {folder}: run this from a checkout of the course")
    wanted = {name.removesuffix(".ipynb") for name in names}
    if unknown := wanted - {key for path in available for key in (path.stem, _number(path))}:
        stems = ", ".join(path.stem for path in available)
        raise LabError(f"no notebook {min(unknown)!r}: choose from {stems}")
    if not wanted:
        return available
    return [path for path in available if {path.stem, _number(path)} & wanted]


def _number(path: Path) -> str:
    return path.stem.split("_")[0]


def _read(path: Path) -> nbformat.NotebookNode:
    import nbformat

    return nbformat.read(path, as_version=4)


if __name__ == "__main__":
    run_command(main)
