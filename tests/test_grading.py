"""Grading a class: attacks win nothing, broken notebooks are reported, a killed run continues."""

import csv
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from tutorial_lib.exercises.catalogue import ExerciseError, load_tasks, topics
from tutorial_lib.exercises.grading import grade_all, grade_notebook
from tutorial_lib.exercises.release import nbgrader_notebook
from tutorial_lib.exercises.sandbox import landlock_version

ROOT = Path(__file__).parent.parent
ASSIGNMENTS = ROOT / "exercises"
TOPIC = "04_label_masking"
FULL = {
    "causal_loss": 5,
    "mask_padding": 3,
    "supervised_share": 3,
}  # the tasks that no attack is about
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="grading runs on Linux")


def load_attacks() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("attacks", ASSIGNMENTS / "attacks" / "cells.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Without Landlock nothing holds native code back, as the instructors' page says.
    return {
        name: code
        for name, code in module.ATTACKS.items()
        if landlock_version() or "native" not in name
    }


ATTACKS = load_attacks()


def solved(topic: str = TOPIC) -> nbformat.NotebookNode:
    return nbgrader_notebook(ASSIGNMENTS, topic)


def hand_in(notebook: nbformat.NotebookNode, folder: Path, topic: str = TOPIC) -> Path:
    path = folder / topic / f"{topic}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def cell_of(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    return next(cell for cell in notebook.cells if cell.metadata.nbgrader.grade_id == name)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A class in which every attack is a student, between two honest ones."""
    folder = tmp_path_factory.mktemp("class")
    submissions, out, outside = folder / "submitted", folder / "graded", folder / "outside"
    connections = []
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.2)
    stop = threading.Event()

    def listen() -> None:
        while not stop.is_set():
            try:
                connections.append(listener.accept())
            except TimeoutError:
                continue

    thread = threading.Thread(target=listen)
    thread.start()
    hand_in(solved(), submissions / "aa first")
    for number, code in enumerate(ATTACKS.values()):
        notebook = solved()
        words = {
            "CHECKS": str(ASSIGNMENTS / "checks"),
            "OUTSIDE": str(outside),
            "PORT": str(listener.getsockname()[1]),
        }
        for word, value in words.items():
            code = code.replace(word, value)
        cell_of(notebook, "mask_prompt").source = code
        hand_in(notebook, submissions / f"attack {number:02d}")
    hand_in(solved(), submissions / "zz last")
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    start = time.monotonic()
    rows = table(
        grade_all(submissions, out, ASSIGNMENTS, "the seed of the class", log=lambda line: None)
    )
    seconds = time.monotonic() - start
    stop.set()
    thread.join()
    listener.close()
    after = {
        child.pid: child.cmdline()
        for child in psutil.Process().children(recursive=True)
        if child.pid not in before
    }
    return {
        "rows": rows,
        "out": out,
        "outside": outside,
        "connections": connections,
        "after": after,
        "seconds": seconds,
        "students": len(ATTACKS) + 2,
    }


def points(rows: list[dict[str, str]], student: str) -> dict[str, int]:
    return {row["task"]: int(row["points"]) for row in rows if row["student"] == student}


@pytest.mark.parametrize("number", range(len(ATTACKS)), ids=list(ATTACKS))
def test_an_attack_wins_nothing_and_costs_nothing_else(graded, number):
    assert points(graded["rows"], f"attack {number:02d}") == {"mask_prompt": 0, **FULL}


def test_there_are_enough_kinds_of_attack():
    assert len(ATTACKS) >= 20


def test_everybody_else_is_graded(graded):
    for student in ("aa first", "zz last"):
        assert points(graded["rows"], student) == {"mask_prompt": 3, **FULL}
    assert len(graded["rows"]) == graded["students"] * 4


def test_nothing_reaches_the_outside_and_nothing_is_left_running(graded):
    assert not graded["outside"].exists()
    assert graded["connections"] == []
    assert not (ROOT / "tutorial_lib" / "was_here.py").exists()
    servers = ("multiprocessing.forkserver", "multiprocessing.resource_tracker")
    assert [
        line
        for line in graded["after"].values()
        if not any(server in " ".join(line) for server in servers)
    ] == []


def test_what_goes_back_holds_nothing_hidden(graded):
    checks = (ASSIGNMENTS / "checks" / f"{TOPIC}.py").read_text(encoding="utf-8")
    code = {
        line.strip()
        for line in checks.splitlines()
        if "(" in line and len(line.strip()) > 30 and not line.strip().startswith(("Case(", '"'))
    }
    pages = list(graded["out"].rglob("*.html"))
    assert len(pages) == graded["students"]
    for page in [*pages, graded["out"] / "grades.csv"]:
        text = page.read_text(encoding="utf-8")
        assert "the seed of the class" not in text
        assert not any(line in text for line in code)
        assert page.stat().st_size < 20_000, "no output comes along"


def edit(notebook: nbformat.NotebookNode, change) -> nbformat.NotebookNode:
    change(notebook)
    return notebook


def test_edited_deleted_and_doubled_cells(tmp_path):
    without_checks = edit(
        solved(),
        lambda n: n.update(
            cells=[
                c for c in n.cells if not c.metadata.nbgrader.locked or c.cell_type == "markdown"
            ]
        ),
    )
    edited = solved()
    for cell in edited.cells:
        if cell.metadata.nbgrader.locked and cell.cell_type == "code":
            cell.source = "def check(function): print('all right')\nrequire = check"
    cell_of(
        edited, "mask_prompt"
    ).source = "def mask_prompt(input_ids, prompt_length):\n    return [0]"
    doubled = solved()
    wrong = nbformat.v4.new_code_cell(
        "def mask_prompt(input_ids, prompt_length):\n    return [0]",
        metadata=cell_of(doubled, "mask_prompt").metadata,
    )
    doubled.cells.insert(0, wrong)
    for name, notebook in (("no checks", without_checks), ("edited", edited), ("doubled", doubled)):
        hand_in(notebook, tmp_path / "in" / name)
    rows = table(
        grade_all(tmp_path / "in", tmp_path / "out", ASSIGNMENTS, "s", log=lambda line: None)
    )
    assert points(rows, "edited") == {"mask_prompt": 0, **FULL}
    assert points(rows, "doubled") == {"mask_prompt": 0, **FULL}
    # This student has deleted the set-up cell as well: tasks that need `math` fail.
    assert points(rows, "no checks")["mask_prompt"] == 3
    assert "twice" in (tmp_path / "out" / "doubled" / f"{TOPIC}.html").read_text(encoding="utf-8")


def broken(folder: Path) -> None:
    """Notebooks that are none."""

    def put(student: str, text: str) -> Path:
        path = folder / student / TOPIC / f"{TOPIC}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
        return path

    put("no json", "print('hello')")
    put("empty", "")
    put("no cells", json.dumps({"nbformat": 4}))
    put("cells of another kind", json.dumps({"cells": [1, None, {"cell_type": "code"}]}))
    with put("huge", "{}").open("r+b") as file:
        file.truncate(200 << 20)
    hand_in(
        edit(solved(), lambda n: n.metadata.kernelspec.update(name="julia-9")),
        folder / "wrong kernel",
    )
    secret = folder.parent / "secret.ipynb"
    secret.write_text(json.dumps(solved()), encoding="utf-8")
    link = folder / "a link" / TOPIC / f"{TOPIC}.ipynb"
    link.parent.mkdir(parents=True)
    link.symlink_to(secret)


def test_broken_notebooks_are_reported_and_passed_over(tmp_path):
    broken(tmp_path / "in")
    hand_in(solved(), tmp_path / "in" / "zz good")
    rows = table(
        grade_all(tmp_path / "in", tmp_path / "out", ASSIGNMENTS, "s", log=lambda line: None)
    )
    diagnoses = {row["student"]: row["diagnosis"] for row in rows}
    for student in ("no json", "empty", "no cells", "cells of another kind"):
        assert "save it in JupyterLab" in diagnoses[student], student
    assert "200 MB" in diagnoses["huge"] or "210 MB" in diagnoses["huge"]
    assert sum(points(rows, "wrong kernel").values()) == 14
    assert sum(points(rows, "zz good").values()) == 14
    assert "a link" not in diagnoses, "a link could lead anywhere"


def test_a_helper_cell_that_hangs_does_not_take_the_tasks_with_it(tmp_path):
    notebook = solved()
    notebook.cells.insert(0, nbformat.v4.new_code_cell("while True: pass"))
    path = hand_in(notebook, tmp_path)
    grade = grade_notebook(path, TOPIC, ASSIGNMENTS, "s")
    assert grade.points == 14


def test_the_second_run_grades_what_changed(tmp_path):
    for name in ("ada", "bob"):
        hand_in(solved(), tmp_path / "in" / name)
    lines: list[str] = []
    first = grade_all(
        tmp_path / "in", tmp_path / "out", ASSIGNMENTS, "s", log=lines.append
    ).read_bytes()
    assert not any("unchanged" in line for line in lines)
    lines.clear()
    assert (
        grade_all(
            tmp_path / "in", tmp_path / "out", ASSIGNMENTS, "s", log=lines.append
        ).read_bytes()
        == first
    )
    assert all("unchanged" in line for line in lines)
    changed = solved()
    cell_of(
        changed, "mask_prompt"
    ).source = "def mask_prompt(input_ids, prompt_length):\n    return list(input_ids)"
    hand_in(changed, tmp_path / "in" / "bob")
    lines.clear()
    rows = table(grade_all(tmp_path / "in", tmp_path / "out", ASSIGNMENTS, "s", log=lines.append))
    assert ["unchanged" in line for line in lines] == [True, False]
    assert points(rows, "bob")["mask_prompt"] == 0
    [diagnosis] = [
        row["diagnosis"] for row in rows if row["student"] == "bob" and row["task"] == "mask_prompt"
    ]
    assert diagnosis == "labels of the prompt are the ids, not -100"
    (tmp_path / "out" / "ada" / f"{TOPIC}.json").write_text("{ half", encoding="utf-8")
    assert [
        row
        for row in table(
            grade_all(tmp_path / "in", tmp_path / "out", ASSIGNMENTS, "s", log=lines.append)
        )
        if row["student"] == "ada"
    ]
    lines.clear()
    grade_all(tmp_path / "in", tmp_path / "out", ASSIGNMENTS, "another seed", log=lines.append)
    assert not any("unchanged" in line for line in lines), "other inputs: everything again"


def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    for number in range(6):
        for topic in topics(ASSIGNMENTS)[:2]:
            hand_in(solved(topic), tmp_path / "in" / f"s{number}", topic)
    (tmp_path / "seed").write_text("s")
    environment = {**os.environ, "EXERCISES_SEED": str(tmp_path / "seed")}
    command = [
        sys.executable,
        "-m",
        "tutorial_lib.exercises",
        "grade",
        str(tmp_path / "in"),
        "--out",
        str(tmp_path / "out"),
    ]
    running = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=ROOT,
    )
    for line in running.stdout:
        if line.startswith("[5/"):
            break
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "out" / "grades.csv").exists()
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert 4 <= done.stdout.count("(unchanged)") < 12
    resumed = (tmp_path / "out" / "grades.csv").read_bytes()
    shutil.rmtree(tmp_path / "out")
    subprocess.run(command, env=environment, capture_output=True, check=True, cwd=ROOT)
    assert (tmp_path / "out" / "grades.csv").read_bytes() == resumed, "the same grades"
    assert all(row["points"] == row["possible"] for row in table(tmp_path / "out" / "grades.csv"))


def test_a_folder_without_submissions_is_reported(tmp_path):
    with pytest.raises(ExerciseError, match="one folder per student"):
        grade_all(tmp_path, tmp_path / "out", ASSIGNMENTS, "s")


def test_the_order_of_tasks_in_the_table_is_the_assignments(graded):
    assert [row["task"] for row in graded["rows"][:4]] == list(load_tasks(ASSIGNMENTS, TOPIC))
