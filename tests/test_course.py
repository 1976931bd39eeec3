"""``python -m tutorial_lib.course`` on small notebooks: what runs beside what, what is kept, and what happens when one fails."""

import os
import subprocess
import sys

import nbformat
import pytest

VARIABLES = "os.environ.get('OMP_NUM_THREADS', '-') + ' ' + os.environ.get('MALLOC_MMAP_MAX_', '-')"
WRITE = f"import os, time\nopen('log', 'a').write('{{name}} {{mark}} ' + {VARIABLES} + '\\n')"


def write(folder, name, *cells):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata.kernelspec = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return notebook


def log(name, seconds=0):
    """Cells that note when a notebook begins and ends."""
    return [
        WRITE.format(name=name, mark="begins"),
        f"time.sleep({seconds})",
        WRITE.format(name=name, mark="ends"),
    ]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "notebooks").mkdir()
    return tmp_path / "notebooks"


def run(folder, *arguments, **variables):
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("OMP_NUM_THREADS", "TUTORIAL_PROFILE")
    }
    environment |= {"TUTORIAL_RUNS": str(folder.parent / "runs"), **variables}
    command = [sys.executable, "-m", "tutorial_lib.course", "--folder", str(folder), *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=200, check=False
    )


def test_two_at_a_time_08_after_07_and_those_that_measure_alone(folder):
    for name, seconds in (("01_a", 0), ("07_b", 12), ("08_c", 0), ("12_d", 0)):
        write(folder, name, *log(name, seconds))
    done = run(folder)
    assert done.returncode == 0, done.stderr
    events = [line.split() for line in (folder / "log").read_text().splitlines()]
    order = [f"{name} {mark}" for name, mark, *_ in events]
    assert order.index("01_a begins") < order.index("07_b ends"), "01 does not wait for 07"
    assert order.index("07_b ends") < order.index("08_c begins")
    assert order[-2:] == ["12_d begins", "12_d ends"]
    threads = {name: number for name, _, number, _ in events}
    assert threads["12_d"] == "-", "all cores"
    assert {threads[name] for name in ("01_a", "07_b", "08_c")} == {str(os.cpu_count() // 2)}
    memory = {name: blocks for name, _, _, blocks in events}
    assert (memory["07_b"], memory["12_d"]) == ("0", "-"), (
        "freed memory is kept, but not where that is measured"
    )
    assert "4 notebooks" in done.stdout
    executed = nbformat.read(folder.parent / "runs/course/08_c.ipynb", as_version=4)
    assert executed.cells[0].execution_count == 1
    assert (folder.parent / "runs/course/08_c.html").is_file()


def test_the_article_profile_runs_one_after_the_other_in_order(folder):
    for name in ("01_a", "07_b", "12_c"):
        write(folder, name, *log(name))
    assert run(folder, TUTORIAL_PROFILE="article").returncode == 0
    order = [line.split()[0] for line in (folder / "log").read_text().splitlines()]
    assert order == ["01_a", "01_a", "07_b", "07_b", "12_c", "12_c"]


def test_the_table_is_printed_at_the_end(folder):
    write(folder, "00_first")
    notebook = write(folder, "08_table", "print('before  after')")
    notebook.cells[0].metadata.tags = ["before-after"]
    nbformat.write(notebook, folder / "08_table.ipynb")
    done = run(folder)
    assert done.stdout.endswith("before  after\n")


def test_a_failing_cell_ends_the_others_and_is_kept_with_its_error(folder):
    write(folder, "01_wrong", "1 / 0")
    write(folder, "07_long", *log("07_long", 300))
    done = run(folder)
    assert done.returncode == 1
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .startswith("error: 01_wrong.ipynb failed: ZeroDivisionError")
    )
    assert "07_long ends" not in (folder / "log").read_text()
    executed = nbformat.read(folder.parent / "runs/course/01_wrong.ipynb", as_version=4)
    assert executed.cells[0].outputs[0].ename == "ZeroDivisionError"


def test_an_unknown_notebook_is_named(folder):
    write(folder, "01_a")
    done = run(folder, "99")
    assert done.returncode == 1
    assert "no notebook '99': choose from 01_a" in done.stderr
