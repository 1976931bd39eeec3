"""``python -m tutorial_lib.course`` on small notebooks: what runs when, and what is kept."""

import os
import subprocess
import sys
import time

import nbformat
import pytest

THREADS = "os.environ.get('OMP_NUM_THREADS', '-')"
WRITE = f"import os, time\nopen('log', 'a').write('{{name}} {{mark}} ' + {THREADS} + '\\n')"


def write(folder, name, *cells, tags=(), **needs):
    """Write a notebook of these code cells; `needs` is its metadata for the course."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell, metadata={"tags": list(tags)}) for cell in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}, "lab": needs},
    )
    nbformat.write(notebook, folder / f"{name}.ipynb")


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


def test_two_at_a_time_one_after_another_where_it_says_so_and_those_that_measure_alone(folder):
    write(folder, "01_a", *log("01_a"))
    write(folder, "04_f", *log("04_f"), after="07")
    write(folder, "07_b", *log("07_b", 12))
    write(folder, "08_c", *log("08_c"), after="07")
    write(folder, "10_d", *log("10_d"), alone=True)
    write(folder, "11_e", *log("11_e"))
    done = run(folder)
    assert done.returncode == 0, done.stderr
    events = [line.split() for line in (folder / "log").read_text().splitlines()]
    order = [f"{name} {mark}" for name, mark, _ in events]
    assert order.index("01_a begins") < order.index("07_b ends"), "01 does not wait for 07"
    assert order.index("11_e begins") < order.index("07_b ends"), "nor does 11"
    assert order.index("07_b ends") < order.index("04_f begins"), "whatever its number"
    assert order.index("07_b ends") < order.index("08_c begins")
    assert order[-2:] == ["10_d begins", "10_d ends"]
    threads = {name: number for name, _, number in events}
    assert threads.pop("10_d") == "-", "all cores"
    assert set(threads.values()) == {str(os.cpu_count() // 2)}
    assert "6 notebooks" in done.stdout
    executed = nbformat.read(folder.parent / "runs/course/08_c.ipynb", as_version=4)
    assert executed.cells[0].execution_count == 1
    assert (folder.parent / "runs/course/08_c.html").is_file()


def test_the_longest_begin_first_with_what_follows_them(folder):
    write(folder, "01_a", *log("01_a"))
    write(folder, "02_b", *log("02_b", 8), seconds=20)
    write(folder, "03_e", *log("03_e"), seconds=20)
    write(folder, "07_c", *log("07_c", 8), seconds=15)
    write(folder, "08_d", *log("08_d"), after="07", seconds=15)
    assert run(folder).returncode == 0
    order = [line.split()[0] for line in (folder / "log").read_text().splitlines()]
    assert set(order[:2]) == {"07_c", "02_b"}, "07 and 08 together take longer than 03"


def test_only_kernels_side_by_side_keep_their_memory(folder):
    for name, needs in {"01_a": {}, "02_b": {}, "12_c": {"alone": True}}.items():
        cell = "import os; print(os.environ.get('MALLOC_MMAP_MAX_', '-'), end='')"
        write(folder, name, cell, tags=["before-after"], **needs)
    assert run(folder).returncode == 0
    executed = sorted((folder.parent / "runs/course").glob("*.ipynb"))
    notebooks = [nbformat.read(path, as_version=4) for path in executed]
    assert [each.cells[0].outputs[0].text for each in notebooks] == ["0", "0", "-"]


def test_a_notebook_does_not_wait_for_one_that_was_not_chosen(folder):
    write(folder, "07_b", *log("07_b"))
    write(folder, "08_c", *log("08_c"), after="07")
    write(folder, "09_d", *log("09_d"))
    assert run(folder, "09", "08_c.ipynb").returncode == 0
    names = {line.split()[0] for line in (folder / "log").read_text().splitlines()}
    assert names == {"08_c", "09_d"}


def test_the_article_profile_runs_one_after_the_other_in_order(folder):
    for name in ("01_a", "07_b", "12_c"):
        write(folder, name, *log(name))
    assert run(folder, TUTORIAL_PROFILE="article").returncode == 0
    order = [line.split()[0] for line in (folder / "log").read_text().splitlines()]
    assert order == ["01_a", "01_a", "07_b", "07_b", "12_c", "12_c"]


def test_the_table_is_printed_at_the_end(folder):
    write(folder, "00_first")
    write(folder, "08_table", "print('before  after')", tags=["before-after"])
    done = run(folder)
    assert done.stdout.endswith("before  after\n")


def test_a_failing_cell_ends_the_others_and_is_kept_with_its_error(folder):
    write(folder, "01_wrong", "1 / 0")
    write(folder, "07_long", *log("07_long", 300))
    write(folder, "08_next", *log("08_next"), after="07")
    begin = time.monotonic()
    done = run(folder)
    assert time.monotonic() - begin < 100
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: 01_wrong.ipynb failed: ZeroDivisionError")
    events = (folder / "log").read_text() if (folder / "log").exists() else ""
    assert "07_long ends" not in events
    assert "08_next" not in events
    executed = nbformat.read(folder.parent / "runs/course/01_wrong.ipynb", as_version=4)
    assert executed.cells[0].outputs[0].ename == "ZeroDivisionError"


def test_an_unknown_notebook_is_named(folder):
    write(folder, "01_a")
    done = run(folder, "99")
    assert done.returncode == 1
    assert "no notebook '99': choose from 01_a" in done.stderr


def test_a_folder_without_notebooks_is_named(folder):
    done = run(folder)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: no notebooks in {folder}")
