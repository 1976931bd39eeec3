"""The exercises: references, mistakes and diagnoses, the released notebooks, the check."""

import json
import os
import re
import shutil
import subprocess
import sys
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
    find_assignments,
    load_tasks,
    secret_seed,
    topic_of,
    topics,
)
from tutorial_lib.exercises.grading import grade_notebook
from tutorial_lib.exercises.hidden import require
from tutorial_lib.exercises.plain import NotPlainError, same, to_plain
from tutorial_lib.exercises.release import nbgrader_notebook, strip_solutions, visible_cases
from tutorial_lib.exercises.submission import read_submission
from tutorial_lib.exercises.task import NOT_TRIED, Outcome, call, cases_of, judge
from tutorial_lib.exercises.visible import CASES

ROOT = Path(__file__).parent.parent
ASSIGNMENTS = ROOT / "exercises"
TOPICS = topics(ASSIGNMENTS)
TASKS = {
    (topic, name): task for topic in TOPICS for name, task in load_tasks(ASSIGNMENTS, topic).items()
}
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="grading runs on Linux")


@pytest.fixture(scope="module")
def nbgrader_course(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("nbgrader") / "course"
    main(["release", "--nbgrader", str(folder)])
    return folder


def source(topic: str) -> Path:
    return ASSIGNMENTS / "source" / topic / f"{topic}.ipynb"


def release(topic: str) -> Path:
    return ASSIGNMENTS / "release" / topic / f"{topic}.ipynb"


def bank(topic: str, name: str) -> list[tuple[str | None, str]]:
    """The answers of the mistake bank: (diagnosis or None, code)."""
    text = (ASSIGNMENTS / "mistakes" / topic / f"{name}.py").read_text(encoding="utf-8")
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


# --- the bank, through the real grading path -----------------------------------------------------


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
def test_every_right_answer_passes_and_every_wrong_one_gets_its_own_diagnosis(topic, tmp_path):
    answers = {name: bank(topic, name) for name in load_tasks(ASSIGNMENTS, topic)}
    for number in range(max(map(len, answers.values()))):
        chosen = {name: given[number] for name, given in answers.items() if number < len(given)}
        path = with_answers(
            topic, {name: code for name, (_, code) in chosen.items()}, tmp_path / f"{topic}.ipynb"
        )
        grade = grade_notebook(path, topic, ASSIGNMENTS, f"seed {number}")
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
def test_whatever_the_seed_each_misconception_gets_its_own_diagnosis(key):
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


# --- notebooks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", TOPICS)
def test_reference_solutions_get_full_points(topic, nbgrader_course):
    path = nbgrader_course / "source" / topic / f"{topic}.ipynb"
    grade = grade_notebook(path, topic, ASSIGNMENTS, "any")
    assert grade.points == grade.possible > 0
    assert [result.diagnosis for result in grade.results] == [""] * len(grade.results)


@pytest.mark.parametrize("topic", TOPICS)
def test_the_released_notebook_is_what_the_source_gives(topic):
    text = strip_solutions(nbgrader_notebook(ASSIGNMENTS, topic))
    assert release(topic).read_text(encoding="utf-8") == text, (
        "run: python -m tutorial_lib.exercises release"
    )


@pytest.mark.parametrize("topic", TOPICS)
def test_a_source_holds_prose_and_solutions_and_nothing_that_the_checks_say(topic):
    notebook = nbformat.read(source(topic), as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert "nbgrader" not in cell.metadata, cell.id
        assert not re.search(r"\d+ points?|HIDDEN TESTS|^check\(", cell.source, re.MULTILINE), (
            cell.id
        )


def test_points_and_hidden_tests_follow_the_checks(tmp_path):
    assignments, topic = tmp_path / "exercises", "04_label_masking"
    keep_out = shutil.ignore_patterns("release", ".seed")
    shutil.copytree(ASSIGNMENTS, assignments, ignore=keep_out)
    checks = assignments / "checks" / f"{topic}.py"
    text = checks.read_text(encoding="utf-8")
    points = '{"the prompt": 1, "the answer": 1, "length": 1}'
    assert points in text
    checks.write_text(text.replace(points, '{"the prompt": 4, "length": 1}'), encoding="utf-8")
    notebook = nbgrader_notebook(assignments, topic)
    cells = {cell.metadata.nbgrader.grade_id: cell for cell in notebook.cells}
    assert len(cells) == len(notebook.cells)
    tasks = load_tasks(ASSIGNMENTS, topic)
    total = sum(task.total for task in tasks.values()) + 2  # the idea of 1 and 1 now is one of 4
    assert f"{len(tasks)} tasks, {total} points, about" in cells["intro"].source
    assert "6 minutes · 5 points" in cells["mask_prompt-text"].source
    assert cells["mask_prompt-1"].metadata.nbgrader.points == 4
    assert "the prompt (4 points)" in cells["mask_prompt-1"].source
    assert '"mask_prompt", "length", mask_prompt)' in cells["mask_prompt-2"].source
    assert "length (1 point)" in cells["mask_prompt-2"].source
    assert "mask_prompt-3" not in cells
    assert cells["mask_prompt-check"].source == "check(mask_prompt)"


def test_a_task_without_a_cell_is_named(tmp_path):
    shutil.copytree(ASSIGNMENTS, tmp_path / "exercises")
    path = tmp_path / "exercises" / "source" / "04_label_masking" / "04_label_masking.ipynb"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"id": "mask_padding"', '"id": "other"'), encoding="utf-8")
    with pytest.raises(ExerciseError, match="no cell with the id mask_padding"):
        nbgrader_notebook(tmp_path / "exercises", "04_label_masking")


def test_the_readmes_count_and_list_the_tasks():
    for path in (ROOT / "README.md", ROOT / "exercises" / "README.md"):
        assert f"{len(TASKS)} tasks" in path.read_text(encoding="utf-8"), path
    lines = (ROOT / "exercises" / "README.md").read_text(encoding="utf-8").splitlines()
    for topic in TOPICS:
        [line] = (line for line in lines if line.startswith("|") and f"release/{topic}/" in line)
        assert line.count(" · ") + 1 == len(load_tasks(ASSIGNMENTS, topic)), line


def test_the_visible_cases_are_what_the_references_give():
    assert CASES.read_text(encoding="utf-8") == visible_cases(ASSIGNMENTS), (
        "run: python -m tutorial_lib.exercises release"
    )


COSTS = "*implement* · difficulty ●○○ · importance ●●○ · 5 minutes · {points} points"


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
        assert found, f"below its heading a task needs a line like '{COSTS}': {text}"
        minutes += int(found[1])
    assert 20 <= minutes <= 45
    total = sum(cell.metadata.nbgrader.get("points", 0) for cell in notebook.cells)
    assert total == sum(
        sum(task.points.values()) for task in load_tasks(ASSIGNMENTS, topic).values()
    )
    assert f"{total} points" in texts[0]
    for name in load_tasks(ASSIGNMENTS, topic):
        assert any(cell.source == f"check({name})" for cell in notebook.cells)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_solved_notebook_runs_from_top_to_bottom(topic, nbgrader_course, monkeypatch, tmp_path):
    """In nbgrader's way: in a kernel, hidden tests included."""
    from nbclient import NotebookClient

    (tmp_path / "seed").write_text("a seed")
    monkeypatch.setenv("EXERCISES_SEED", str(tmp_path / "seed"))
    path = nbgrader_course / "source" / topic / f"{topic}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, kernel_name="python3", timeout=120, resources=where).execute()


def test_nbgraders_own_commands_work_on_the_course(tmp_path):
    """Release, hand in, autograde and feedback, as its documentation says."""
    course, topic = tmp_path / "course", "04_label_masking"
    main(["release", "--nbgrader", str(course)])

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
    theirs = nbformat.read(course / "release" / topic / f"{topic}.ipynb", as_version=4)
    ours = nbformat.read(release(topic), as_version=4)
    assert [cell.source for cell in theirs.cells] == [cell.source for cell in ours.cells]
    for student, right in (("ada", True), ("bob", False)):
        folder = course / "submitted" / student / topic
        folder.mkdir(parents=True)
        answers = {
            name: next(code for kind, code in bank(topic, name) if (kind is None) is right)
            for name in load_tasks(ASSIGNMENTS, topic)
        }
        notebook = nbformat.read(course / "release" / topic / f"{topic}.ipynb", as_version=4)
        for each in notebook.cells:
            if each.metadata.nbgrader.grade_id in answers:
                each.source = answers[each.metadata.nbgrader.grade_id]
        nbformat.write(notebook, folder / f"{topic}.ipynb")
    assert "Success" in nbgrader("validate", f"source/{topic}/{topic}.ipynb")
    nbgrader("autograde", topic)
    nbgrader("generate_feedback", topic)
    nbgrader("export", f"--to={tmp_path / 'grades.csv'}")
    lines = (tmp_path / "grades.csv").read_text().splitlines()
    head = lines[0].split(",")
    scores = {
        line.split(",")[head.index("student_id")]: float(line.split(",")[head.index("raw_score")])
        for line in lines[1:]
    }
    total = sum(task.total for task in load_tasks(ASSIGNMENTS, topic).values())
    assert scores["ada"] == total
    assert scores["bob"] < total / 2
    assert (course / "feedback" / "bob" / topic / f"{topic}.html").is_file()


# --- the visible check ---------------------------------------------------------------------------


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


# --- plain data ----------------------------------------------------------------------------------

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


# --- reading submissions -------------------------------------------------------------------------


def test_a_cell_is_found_without_its_id_and_the_first_of_two_is_graded(tmp_path):
    notebook = nbgrader_notebook(ASSIGNMENTS, "04_label_masking")
    for cell in notebook.cells:
        cell.metadata = {}
    again = nbformat.v4.new_code_cell("def mask_prompt(input_ids, prompt_length):\n    return []")
    notebook.cells.append(again)
    nbformat.write(notebook, tmp_path / "04.ipynb")
    submission = read_submission(
        tmp_path / "04.ipynb", list(load_tasks(ASSIGNMENTS, "04_label_masking"))
    )
    assert set(submission.answers) == set(load_tasks(ASSIGNMENTS, "04_label_masking"))
    assert "return []" not in submission.answers["mask_prompt"]
    assert any("mask_prompt" in remark and "twice" in remark for remark in submission.remarks)


def cell_without_id(source: str, folder: Path) -> Path:
    path = folder / "04.ipynb"
    cells = [nbformat.v4.new_code_cell(source)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_a_function_that_is_only_mentioned_or_nested_is_not_an_answer(tmp_path):
    text = (
        "example = '''\ndef mask_prompt(input_ids, prompt_length):\n    return []\n'''\n"
        "def mine():\n    def causal_loss(scores, labels): return 0.0"
    )
    submission = read_submission(cell_without_id(text, tmp_path), ["mask_prompt", "causal_loss"])
    assert submission.answers == {}
    assert submission.helpers == [text]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("%%time\ndef mask_prompt(a, b):\n    return a", "SyntaxError"),
        ("def mask_prompt(a, b): return " + "-" * 100_000 + "1", "MemoryError|RecursionError"),
        ("def mask_prompt(a, b): return a" + ".b" * 100_000, "MemoryError|RecursionError"),
        ("def mask_prompt(a, b): return '\0'", "SyntaxError|ValueError"),
    ],
    ids=["a magic", "a deep expression", "a long chain", "a null byte"],
)
def test_a_cell_without_id_that_is_not_python_is_remarked(text, problem, tmp_path):
    submission = read_submission(cell_without_id(text, tmp_path), ["mask_prompt", "causal_loss"])
    assert submission.answers == {}
    [remark] = submission.remarks
    assert re.search(rf"^mask_prompt: .*without its id is not valid Python \(({problem})\)", remark)


def test_a_students_own_helper_cell_is_run(tmp_path):
    code = "def mask_prompt(input_ids, prompt_length):\n    return hide(input_ids, prompt_length)"
    path = with_answers(
        "04_label_masking", {"mask_prompt": code}, tmp_path / "04_label_masking.ipynb"
    )
    notebook = nbformat.read(path, as_version=4)
    helper = "def hide(ids, n):\n    return [-100 if i < n else x for i, x in enumerate(ids)]"
    notebook.cells.insert(2, nbformat.v4.new_code_cell(helper))
    notebook.cells.insert(3, nbformat.v4.new_code_cell("1 / 0"))
    nbformat.write(notebook, path)
    grade = grade_notebook(path, "04_label_masking", ASSIGNMENTS, "x")
    assert grade.results[0].total == 3
    assert grade.results[1].diagnosis == NOT_TRIED


# --- commands ------------------------------------------------------------------------------------


def test_check_prints_points_and_diagnoses_and_no_input(capsys, tmp_path):
    wrong = {
        name: bank("03_data_formatting", name)[2]
        for name in load_tasks(ASSIGNMENTS, "03_data_formatting")
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
    monkeypatch.setattr("tutorial_lib.exercises.catalogue.ASSIGNMENTS", tmp_path / "nowhere")
    with pytest.raises(ExerciseError, match="not in this kit"):
        find_assignments()


def command(code: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    """Run the command in a new process, after some code."""
    code += "; import runpy; runpy.run_module('tutorial_lib.exercises', run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_resource_limits_only_grading_is_refused(tmp_path):
    windows = "import sys; sys.modules['resource'] = None"
    done = command(windows, "kit", "--out", str(tmp_path / "kit.zip"))
    assert "files in" in done.stdout, done.stderr
    done = command(windows, "release", "--nbgrader", str(tmp_path / "course"))
    assert done.stdout.count(".ipynb") == len(TOPICS), done.stderr
    assert command(windows, "check", "--help").returncode == 0
    notebook = release("04_label_masking")
    for arguments in (["check", notebook], ["grade", tmp_path, "--out", tmp_path / "out"]):
        done = command(windows, *map(str, arguments))
        assert done.returncode == 1
        assert done.stderr.startswith("error: grading needs Linux or macOS")
        assert len(done.stderr.splitlines()) == 1


def test_help_imports_nothing_heavy():
    heavy = ("torch", "nbformat", "numpy", "psutil", "tutorial_lib.exercises.runner")
    code = (
        "import atexit, sys; "
        f"atexit.register(lambda: print([name for name in {heavy} if name in sys.modules]))"
    )
    for arguments in ([], ["check"], ["grade"], ["release"], ["kit"]):
        done = command(code, *arguments, "--help")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "[]"


def test_missing_names_and_seeds_are_reported(tmp_path, monkeypatch):
    with pytest.raises(ExerciseError, match="must begin with one of 01, 02"):
        topic_of(Path("thesis.ipynb"), ASSIGNMENTS)
    assert topic_of(Path("04_label_masking_final(2).ipynb"), ASSIGNMENTS) == "04_label_masking"
    with pytest.raises(ExerciseError, match="choose from 01_pretraining_objectives"):
        load_tasks(ASSIGNMENTS, "99_nothing")
    monkeypatch.setenv("EXERCISES_SEED", str(tmp_path / "missing"))
    with pytest.raises(ExerciseError, match="no such file"):
        secret_seed(tmp_path)
    assignments = tmp_path / "exercises"
    assignments.mkdir()
    first = secret_seed(assignments)
    assert len(first) >= 16
    secret_seed.cache_clear()
    assert secret_seed(assignments) == first, "made once, then kept"


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
