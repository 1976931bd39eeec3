"""The exercises: references, mistakes and diagnoses, the released notebooks, the visible check, and the student kit."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutorial_lib.exercises import check
from tutorial_lib.exercises.__main__ import main
from tutorial_lib.exercises.catalogue import (
    ExerciseError,
    find_course,
    load_tasks,
    secret_seed,
    topic_of,
    topics,
)
from tutorial_lib.exercises.grading import grade_notebook
from tutorial_lib.exercises.hidden import require
from tutorial_lib.exercises.plain import NotPlainError, same, to_plain
from tutorial_lib.exercises.release import build_kit, released, visible_cases
from tutorial_lib.exercises.runner import Runner
from tutorial_lib.exercises.submission import read_submission
from tutorial_lib.exercises.task import NOT_TRIED, Outcome, call, cases_of, judge
from tutorial_lib.exercises.visible import CASES

ROOT = Path(__file__).parent.parent
COURSE = ROOT / "exercises"
TOPICS = topics(COURSE)
TASKS = {
    (topic, name): task for topic in TOPICS for name, task in load_tasks(COURSE, topic).items()
}
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="grading runs on Linux")


@pytest.fixture(scope="module")
def runner():
    with Runner() as running:
        yield running


def source(topic: str) -> Path:
    return COURSE / "source" / topic / f"{topic}.ipynb"


def release(topic: str) -> Path:
    return COURSE / "release" / topic / f"{topic}.ipynb"


def bank(topic: str, name: str) -> list[tuple[str | None, str]]:
    """The answers of the mistake bank: (diagnosis or None, code)."""
    text = (COURSE / "mistakes" / topic / f"{name}.py").read_text(encoding="utf-8")
    parts = re.split(r"^# %% (right|wrong: .*)\n", text, flags=re.MULTILINE)[1:]
    return [
        (None if kind == "right" else kind.removeprefix("wrong: "), code)
        for kind, code in zip(parts[::2], parts[1::2], strict=True)
    ]


def with_answers(topic: str, answers: dict[str, str], target: Path) -> Path:
    """A student's copy of the released notebook, with these cells filled in."""
    notebook = nbformat.read(release(topic), as_version=4)
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        if name in answers:
            cell.source = answers[name]
    nbformat.write(notebook, target)
    return target


# --- the bank, through the real grading path ------------------------------------------------------------------------------------------


def test_there_are_enough_tasks_and_answers():
    answers = [kind for key in TASKS for kind, _ in bank(*key)]
    assert len(TASKS) >= 27
    assert sum(kind is not None for kind in answers) >= 81
    assert sum(kind is None for kind in answers) >= 54
    for key in TASKS:
        kinds = [kind for kind, _ in bank(*key)]
        assert sum(kind is not None for kind in kinds) >= 3, key
        assert sum(kind is None for kind in kinds) >= 2, key


@pytest.mark.parametrize("topic", TOPICS)
def test_every_right_answer_passes_and_every_wrong_one_gets_its_own_diagnosis(
    topic, runner, tmp_path
):
    answers = {name: bank(topic, name) for name in load_tasks(COURSE, topic)}
    for number in range(max(map(len, answers.values()))):
        chosen = {name: given[number] for name, given in answers.items() if number < len(given)}
        path = with_answers(
            topic, {name: code for name, (_, code) in chosen.items()}, tmp_path / f"{topic}.ipynb"
        )
        grade = grade_notebook(path, topic, COURSE, f"seed {number}", runner)
        for result in grade.results:
            if result.function not in chosen:
                continue
            diagnosis, _ = chosen[result.function]
            if diagnosis is None:
                assert (result.total, result.diagnosis) == (sum(result.possible.values()), ""), (
                    result
                )
            else:
                assert result.diagnosis.startswith(diagnosis), (
                    result.function,
                    diagnosis,
                    result.diagnosis,
                )
                assert result.total < sum(result.possible.values()), result


def test_every_misconception_is_in_the_bank():
    for (topic, name), task in TASKS.items():
        kinds = [kind for kind, _ in bank(topic, name) if kind]
        for diagnosis in task.mistakes:
            assert any(diagnosis.startswith(kind) for kind in kinds), (name, diagnosis)


@pytest.mark.parametrize("key", TASKS, ids="/".join)
def test_whatever_the_seed_each_misconception_is_told_from_all_others(key):
    task = TASKS[key]
    for seed in range(25):
        cases = cases_of(task, str(seed))
        assert {case.idea for case in cases} == set(task.points), "every idea is tried"
        right = [call(task.reference, case) for case in cases]
        assert judge(task, cases, Outcome(right)).total == sum(task.points.values())
        for diagnosis, mistaken in task.mistakes.items():
            result = judge(task, cases, Outcome([call(mistaken, case) for case in cases]))
            assert result.diagnosis == diagnosis
            assert result.total < sum(task.points.values())


def test_inputs_come_from_the_seed():
    for task in TASKS.values():
        assert cases_of(task, "a") == cases_of(task, "a")
    different = sum(cases_of(task, "a") != cases_of(task, "b") for task in TASKS.values())
    assert different >= len(TASKS) - 1


# --- notebooks ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", TOPICS)
def test_reference_solutions_get_full_points(topic, runner):
    grade = grade_notebook(source(topic), topic, COURSE, "any", runner)
    assert grade.points == grade.possible > 0
    assert [result.diagnosis for result in grade.results] == [""] * len(grade.results)


@pytest.mark.parametrize("topic", TOPICS)
def test_the_released_notebook_is_what_the_source_gives(topic):
    assert release(topic).read_text(encoding="utf-8") == released(source(topic)), (
        "run: python -m tutorial_lib.exercises release"
    )


def test_the_visible_cases_are_what_the_references_give():
    assert CASES.read_text(encoding="utf-8") == visible_cases(COURSE), (
        "run: python -m tutorial_lib.exercises release"
    )


@pytest.mark.parametrize("topic", TOPICS)
def test_an_assignment_has_each_kind_of_task_and_says_what_it_costs(topic):
    notebook = nbformat.read(release(topic), as_version=4)
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    tasks = [text for text in texts if text.startswith("## ")]
    kinds = {re.search(r"^\*(.+?)\*", text, re.MULTILINE)[1] for text in tasks}
    assert kinds == {"implement", "debug", "predict and measure"}
    minutes = 0
    for text in tasks:
        found = re.search(
            r"difficulty [●○]{3} · importance [●○]{3} · (\d+) minutes · \d+ points", text
        )
        minutes += int(found[1])
    assert 20 <= minutes <= 45
    total = sum(cell.metadata.nbgrader.get("points", 0) for cell in notebook.cells)
    assert total == sum(sum(task.points.values()) for task in load_tasks(COURSE, topic).values())
    assert f"{total} points" in texts[0]
    for name in load_tasks(COURSE, topic):
        assert any(cell.source == f"check({name})" for cell in notebook.cells)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_source_notebook_runs_from_top_to_bottom(topic, monkeypatch, tmp_path):
    """In nbgrader's way: in a kernel, hidden tests included."""
    from nbclient import NotebookClient

    (tmp_path / "seed").write_text("a seed")
    monkeypatch.setenv("EXERCISES_SEED", str(tmp_path / "seed"))
    notebook = nbformat.read(source(topic), as_version=4)
    NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=120,
        resources={"metadata": {"path": str(source(topic).parent)}},
    ).execute()


def test_nbgraders_own_commands_work_on_the_course(tmp_path):
    """Release, hand in, autograde and feedback, as its documentation says."""
    course = tmp_path / "course"
    shutil.copytree(COURSE, course, ignore=shutil.ignore_patterns("release", ".seed"))
    topic = "04_label_masking"

    def nbgrader(*arguments: str) -> str:
        command = [sys.executable, "-m", "nbgrader", *arguments, f"--course={course}"]
        # nbgrader calls a program of its environment by name.
        environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        }
        done = subprocess.run(
            command,
            cwd=course,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout + done.stderr

    nbgrader("generate_assignment", topic)
    made = nbformat.read(course / "release" / topic / f"{topic}.ipynb", as_version=4)
    mine = nbformat.read(release(topic), as_version=4)
    assert [cell.source for cell in made.cells] == [cell.source for cell in mine.cells]
    for student, right in (("ada", True), ("bob", False)):
        folder = course / "submitted" / student / topic
        folder.mkdir(parents=True)
        answers = {
            name: next(code for kind, code in bank(topic, name) if (kind is None) is right)
            for name in load_tasks(COURSE, topic)
        }
        notebook = nbformat.read(course / "release" / topic / f"{topic}.ipynb", as_version=4)
        for each in notebook.cells:
            if each.metadata.nbgrader.grade_id in answers:
                each.source = answers[each.metadata.nbgrader.grade_id]
        nbformat.write(notebook, folder / f"{topic}.ipynb")
    assert "Success" in nbgrader("validate", str(source(topic)))
    nbgrader("autograde", topic)
    nbgrader("generate_feedback", topic)
    nbgrader("export", f"--to={tmp_path / 'grades.csv'}")
    lines = (tmp_path / "grades.csv").read_text().splitlines()
    head = lines[0].split(",")
    scores = {
        line.split(",")[head.index("student_id")]: float(line.split(",")[head.index("raw_score")])
        for line in lines[1:]
    }
    assert scores["ada"] == 14
    assert scores["bob"] < 7
    assert (course / "feedback" / "bob" / topic / f"{topic}.html").is_file()


# --- the visible check --------------------------------------------------------------------------------------------------------------


def namespace(code: str) -> dict:
    names: dict = {"__name__": "student"}
    exec(code, names)
    return names


@pytest.mark.parametrize("key", TASKS, ids="/".join)
def test_the_visible_check_passes_what_is_right_and_says_what_is_expected_of_most_that_is_wrong(
    key, capsys
):
    topic, name = key
    caught = total = 0
    for kind, code in bank(topic, name):
        function = namespace(code)[name]
        if kind is None:
            check(function)
            assert "cases are right" in capsys.readouterr().out
            continue
        total += 1
        try:
            check(function)
        except AssertionError as error:
            caught += 1
            task = TASKS[key]
            message, _, _ = str(error).partition("called with")
            assert any(case.words in message for case in task.visible)
            for case in task.visible:
                expected = repr(call(task.reference, case).value)
                assert len(expected) < 6 or expected not in message, "never the answer"
    assert caught >= total / 2, f"{caught} of {total}"


def test_the_visible_check_knows_its_functions_and_untried_ones():
    with pytest.raises(ValueError, match="keep the name"):
        check(len)

    def mask_prompt(input_ids, prompt_length):
        raise NotImplementedError

    with pytest.raises(AssertionError, match="not written yet"):
        check(mask_prompt)


# --- plain data -----------------------------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_plain_data_stays_as_it_is_and_equals_itself(value):
    assert to_plain(value) == value
    assert same(value, to_plain(value))


@given(VALUES, VALUES)
def test_same_is_what_json_would_call_the_same_up_to_rounding(left, right):
    if json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True):
        assert same(left, right)
    assert same(left, right) == same(right, left)


def test_tensors_and_arrays_become_lists_and_disguises_are_refused():
    assert to_plain((torch.tensor([1, 2]), np.float32(0.5), np.array([[True]]))) == [
        [1, 2],
        0.5,
        [[True]],
    ]

    class Sneaky(list):
        def __eq__(self, other):
            return True

    class Borrowed:
        __class__ = list

    for disguise in (
        Sneaky(),
        Borrowed(),
        {1, 2},
        {1: 2},
        object(),
        lambda: 0,
        list(range(200_000)),
    ):
        with pytest.raises(NotPlainError):
            to_plain(disguise)
    assert not same(True, 1)
    assert not same([1], 1)
    assert not same({"a": 1}, {"b": 1})
    assert same(float("nan"), float("nan"))


# --- reading submissions --------------------------------------------------------------------------------------------------------------


def test_a_cell_is_found_without_its_id_and_the_first_of_two_is_graded(tmp_path):
    notebook = nbformat.read(source("04_label_masking"), as_version=4)
    for cell in notebook.cells:
        cell.metadata = {}
    again = nbformat.v4.new_code_cell("def mask_prompt(input_ids, prompt_length):\n    return []")
    notebook.cells.append(again)
    nbformat.write(notebook, tmp_path / "04.ipynb")
    submission = read_submission(
        tmp_path / "04.ipynb", list(load_tasks(COURSE, "04_label_masking"))
    )
    assert set(submission.answers) == set(load_tasks(COURSE, "04_label_masking"))
    assert "return []" not in submission.answers["mask_prompt"]
    assert any("mask_prompt" in remark and "twice" in remark for remark in submission.remarks)


def test_a_students_own_helper_cell_is_run(tmp_path, runner):
    answers = {
        "mask_prompt": "def mask_prompt(input_ids, prompt_length):\n    return hide(input_ids, prompt_length)"
    }
    path = with_answers("04_label_masking", answers, tmp_path / "04_label_masking.ipynb")
    notebook = nbformat.read(path, as_version=4)
    helper = "def hide(ids, n):\n    return [-100 if i < n else x for i, x in enumerate(ids)]"
    notebook.cells.insert(2, nbformat.v4.new_code_cell(helper))
    notebook.cells.insert(3, nbformat.v4.new_code_cell("1 / 0"))
    nbformat.write(notebook, path)
    grade = grade_notebook(path, "04_label_masking", COURSE, "x", runner)
    assert grade.results[0].total == 3
    assert grade.results[1].diagnosis == NOT_TRIED


# --- commands ---------------------------------------------------------------------------------------------------------------------------


def test_check_prints_points_and_diagnoses_and_no_input(capsys, tmp_path):
    wrong = {
        name: bank("03_data_formatting", name)[2]
        for name in load_tasks(COURSE, "03_data_formatting")
    }
    path = with_answers(
        "03_data_formatting",
        {name: code for name, (_, code) in wrong.items()},
        tmp_path / "03_mine.ipynb",
    )
    main(["check", str(path)])
    printed = capsys.readouterr().out
    for diagnosis, _ in wrong.values():
        assert diagnosis in printed
    assert not re.search(r"\[\d+, \d+", printed), "no hidden input"


def test_a_kit_without_checks_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr("tutorial_lib.exercises.catalogue.COURSE", tmp_path / "nowhere")
    with pytest.raises(ExerciseError, match="not in this kit"):
        find_course(tmp_path)


def test_names_and_seeds_that_are_not_there_are_told(tmp_path, monkeypatch):
    with pytest.raises(ExerciseError, match="must begin with one of 01, 02"):
        topic_of(Path("thesis.ipynb"), COURSE)
    assert topic_of(Path("04_label_masking_final(2).ipynb"), COURSE) == "04_label_masking"
    with pytest.raises(ExerciseError, match="choose from 01_pretraining_objectives"):
        load_tasks(COURSE, "99_nothing")
    monkeypatch.setenv("EXERCISES_SEED", str(tmp_path / "missing"))
    with pytest.raises(ExerciseError, match="no such file"):
        secret_seed(tmp_path)
    course = tmp_path / "course"
    course.mkdir()
    first = secret_seed(course)
    assert len(first) >= 16
    assert secret_seed(course) == first, "made once, then kept"


def test_require_fails_with_the_diagnosis(monkeypatch, tmp_path):
    (tmp_path / "seed").write_text("s")
    for kind, code in bank("04_label_masking", "mask_prompt")[:3]:
        monkeypatch.setenv("EXERCISES_SEED", str(tmp_path / "seed"))
        function = namespace(code)["mask_prompt"]
        if kind is None:
            require("04_label_masking", "mask_prompt", "the prompt", function)
        else:
            with pytest.raises(AssertionError, match=re.escape(kind)):
                require("04_label_masking", "mask_prompt", "the prompt", function)


# --- the student kit --------------------------------------------------------------------------------------------------------------------


def hidden_lines() -> set[str]:
    """Every line of solutions, hidden tests, references and mistakes that says something of its own."""
    texts = [
        path.read_text(encoding="utf-8")
        for folder in ("checks", "mistakes", "attacks")
        for path in (COURSE / folder).rglob("*.py")
    ]
    for topic in TOPICS:
        for cell in nbformat.read(source(topic), as_version=4).cells:
            texts += re.findall(
                r"### BEGIN (?:SOLUTION|HIDDEN TESTS)\n(.*?)### END", cell.source, re.DOTALL
            )
    # What students are given: names and arguments, the faulty code of a debugging task, and the words of the visible cases.
    given = {
        line.strip()
        for topic in TOPICS
        for cell in nbformat.read(release(topic), as_version=4).cells
        for line in cell.source.splitlines()
    }
    shown = CASES.read_text(encoding="utf-8")
    lines = {line.strip() for text in texts for line in text.splitlines()}
    quoted = {
        line
        for line in lines
        if line.startswith("Case(") and line.rstrip(",)").rsplit('"', 2)[-2:][0] in shown
    }
    return {
        line
        for line in lines
        if len(line) >= 30
        and line not in given
        and line not in quoted
        and not line.startswith(("import ", "from ", "def "))
    }


def test_the_student_kit_holds_nothing_hidden_and_works(tmp_path):
    names = build_kit(ROOT, tmp_path / "kit.zip")
    with zipfile.ZipFile(tmp_path / "kit.zip") as kit:
        kit.extractall(tmp_path)
    unpacked = tmp_path / "student-kit"
    assert {
        "README.md",
        "pyproject.toml",
        "exercises/release/04_label_masking/04_label_masking.ipynb",
    } <= set(names)
    assert not any(
        part in name
        for name in names
        for part in ("checks/", "source/", "mistakes/", "attacks/", ".git/", "__pycache__", ".pyc")
    )
    lines = hidden_lines()
    assert len(lines) > 500
    found = []
    for path in unpacked.rglob("*"):
        if path.is_file():
            text = path.read_bytes().decode("utf-8", errors="replace")
            if path.suffix == ".ipynb":
                text += "\n".join(
                    cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
                    for cell in json.loads(text)["cells"]
                )
            leaked = sorted(lines & {line.strip() for line in text.splitlines()})
            leaked += [line for line in lines if len(line) >= 60 and line in text]
            found += [(path.relative_to(unpacked).as_posix(), line) for line in leaked]
    assert found == []
    # One exercise solved with the kit's own library, and the hidden check asked for.
    solve = (
        "from tutorial_lib.exercises import check\n"
        "def mask_prompt(input_ids, prompt_length):\n"
        "    return [-100 if i < prompt_length else t for i, t in enumerate(input_ids)]\n"
        "check(mask_prompt)"
    )
    done = subprocess.run(
        [sys.executable, "-c", solve],
        cwd=unpacked,
        env={"PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "mask_prompt: 2 cases are right" in done.stdout, done.stderr
    command = [
        sys.executable,
        "-m",
        "tutorial_lib.exercises",
        "check",
        str(unpacked / "exercises/release/04_label_masking/04_label_masking.ipynb"),
    ]
    done = subprocess.run(
        command,
        cwd=unpacked,
        env={"PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "not in this kit" in done.stderr
