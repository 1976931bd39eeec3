"""Where the assignments are, and the loading of what is checked; the checks themselves are not part of the library."""

import importlib.util
import os
import secrets
from functools import cache
from pathlib import Path

from tutorial_lib.errors import LabError
from tutorial_lib.exercises.task import Task

SEED_VARIABLE = "EXERCISES_SEED"  # path of a file with the instructor's seed
COURSE = Path(__file__).parent.parent.parent / "exercises"


class ExerciseError(LabError):
    """An assignment, a check or a submission that can't be found or read."""


def find_course(start: Path | None = None) -> Path:
    """Return the folder with ``checks``: the checkout's own, or the nearest above `start` (nbgrader runs in a folder of its own).

    Raises:
        ExerciseError: the checks are not here, as in a student's kit.
    """
    here = (start or Path.cwd()).resolve()
    for folder in [COURSE, here, *here.parents]:
        if (folder / "checks").is_dir():
            return folder
    raise ExerciseError(
        "the hidden checks are not in this kit: your instructor has them; `check(…)` in the notebook tries the visible ones"
    )


def topics(course: Path) -> list[str]:
    """Return the names of all assignments, in order."""
    return sorted(path.stem for path in (course / "checks").glob("[0-9][0-9]_*.py"))


@cache
def load_tasks(course: Path, topic: str) -> dict[str, Task]:
    """Return the tasks of an assignment by the names of their functions.

    Raises:
        ExerciseError: there is no such assignment; names those that there are.
    """
    path = course / "checks" / f"{topic}.py"
    if not path.is_file():
        raise ExerciseError(f"no assignment {topic!r}: choose from {', '.join(topics(course))}")
    spec = importlib.util.spec_from_file_location(f"checks_{topic}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {task.function: task for task in module.TASKS}


def topic_of(path: Path, course: Path) -> str:
    """Return the assignment that a notebook's name belongs to: ``04_label_masking.ipynb``, or any name that begins with its number.

    Raises:
        ExerciseError: its name begins with no assignment's number.
    """
    for topic in topics(course):
        if path.stem == topic or path.stem[:2] == topic[:2]:
            return topic
    raise ExerciseError(
        f"{path.name} belongs to no assignment: its name must begin with one of {', '.join(t[:2] for t in topics(course))}"
    )


@cache
def secret_seed(course: Path) -> str:
    """Return the seed of the hidden inputs: from the file that EXERCISES_SEED names, or from ``.seed`` in the course folder, made once.

    The variable is taken out of the environment, where code that is graded could look for it; the seed is remembered.
    """
    named = os.environ.pop(SEED_VARIABLE, None)
    path = Path(named).expanduser() if named else course / ".seed"
    if not path.is_file():
        if named:
            raise ExerciseError(
                f"{SEED_VARIABLE} names {named!r}, and there is no such file: put any secret text into one"
            )
        path.write_text(secrets.token_hex(16) + "\n", encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()
