"""The students' notebooks: prose and tasks from ``source``, points and checks from ``checks``."""

import json
import re
import shutil
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from tutorial_lib.exercises.catalogue import ExerciseError, load_tasks, topics
from tutorial_lib.exercises.task import Task, call
from tutorial_lib.exercises.visible import CASES

STUB = "# your code here"
HIDDEN_TEST = """\
# Checked when it is graded: {idea} ({points})
### BEGIN HIDDEN TESTS
from tutorial_lib.exercises.hidden import require

require("{topic}", "{function}", "{idea}", {function})
### END HIDDEN TESTS"""


def nbgrader_notebook(assignments: Path, topic: str) -> NotebookNode:
    """Return an assignment in nbgrader's source format: with solutions and hidden tests.

    In the source, a cell's id is its name: the function for a task, FUNCTION-text for its prose.
    Prose may hold ``{points}``; the first cell also ``{tasks}`` and ``{minutes}``.

    Raises:
        ExerciseError: a task has no cell.
    """
    tasks = load_tasks(assignments, topic)
    notebook = nbformat.read(assignments / "source" / topic / f"{topic}.ipynb", as_version=4)
    if missing := sorted(tasks.keys() - {cell.id for cell in notebook.cells}):
        message = f"the source of {topic} has no cell with the id {', '.join(missing)}"
        raise ExerciseError(f"{message}: give the cell of each task its function's name as id")
    prose = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    totals = {
        "tasks": len(tasks),
        "points": sum(task.total for task in tasks.values()),
        "minutes": sum(map(int, re.findall(r"· (\d+) minutes ·", prose))),
    }
    cells: list[NotebookNode] = []
    tests: list[NotebookNode] = []  # of the task at hand; they end its section
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cells += tests
            tests = []
            task = tasks.get(cell.id.removesuffix("-text"))
            for name, value in ({"points": task.total} if task else totals).items():
                cell.source = cell.source.replace(f"{{{name}}}", str(value))
        cells.append(_with_metadata(cell, solution=cell.id in tasks))
        if cell.id in tasks:
            check = new_code_cell(f"check({cell.id})", id=f"{cell.id}-check")
            cells.append(_with_metadata(check))
            tests = _hidden_tests(topic, tasks[cell.id])
    notebook.cells = cells + tests
    return notebook


def strip_solutions(notebook: NotebookNode) -> str:
    """Return a notebook as students get it: without solutions, hidden tests and outputs.

    Raises:
        ExerciseError: nbgrader is not installed.
    """
    try:
        from nbgrader.preprocessors import ClearHiddenTests, ClearOutput, ClearSolutions
    except ImportError:
        raise ExerciseError("nbgrader is not installed: pip install -e '.[instructor]'") from None
    resources: dict = {}
    clear_solutions = ClearSolutions(code_stub={"python": STUB})
    for preprocessor in (clear_solutions, ClearHiddenTests(), ClearOutput()):
        notebook, resources = preprocessor.preprocess(notebook, resources)
    return nbformat.writes(notebook) + "\n"


def visible_cases(assignments: Path) -> str:
    """Return the visible cases of all tasks with their expected answers, as JSON."""
    cases = {}
    for topic in topics(assignments):
        for name, task in load_tasks(assignments, topic).items():
            cases[name] = [
                {
                    **vars(case),
                    "expected": call(task.reference, case).value,
                    "tolerance": task.tolerance,
                }
                for case in task.visible
            ]
    return json.dumps(cases, ensure_ascii=False, indent=1) + "\n"


def release_all(assignments: Path) -> list[Path]:
    """Write the students' notebooks and the visible cases; return the files."""
    written = [
        _write(
            assignments / "release", topic, strip_solutions(nbgrader_notebook(assignments, topic))
        )
        for topic in topics(assignments)
    ]
    CASES.write_text(visible_cases(assignments), encoding="utf-8")
    return [*written, CASES]


def write_nbgrader_course(assignments: Path, folder: Path) -> list[Path]:
    """Write sources with hidden tests and nbgrader's settings into `folder`; return the files."""
    written = [
        _write(folder / "source", topic, nbformat.writes(nbgrader_notebook(assignments, topic)))
        for topic in topics(assignments)
    ]
    return [*written, Path(shutil.copy(assignments / "nbgrader_config.py", folder))]


def _write(folder: Path, topic: str, text: str) -> Path:
    target = folder / topic / f"{topic}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return target


def _hidden_tests(topic: str, task: Task) -> list[NotebookNode]:
    cells = []
    for number, (idea, points) in enumerate(task.points.items(), start=1):
        unit = "point" if points == 1 else "points"
        names = {"topic": topic, "function": task.function, "idea": idea}
        source = HIDDEN_TEST.format(**names, points=f"{points} {unit}")
        cell = new_code_cell(source, id=f"{task.function}-{number}")
        cells.append(_with_metadata(cell, points=points))
    return cells


def _with_metadata(
    cell: NotebookNode, *, solution: bool = False, points: int | None = None
) -> NotebookNode:
    metadata = {"grade_id": cell.id, "schema_version": 3, "task": False}
    metadata |= {"solution": solution, "locked": not solution, "grade": points is not None}
    if points is not None:
        metadata["points"] = points
    cell.metadata["nbgrader"] = metadata
    return cell
