"""Where the assignments are, and what they check; the checks are not part of the library."""

import importlib.util
import os
import secrets
from functools import cache
from pathlib import Path

from tutorial_lib.errors import LabError
from tutorial_lib.exercises.task import Task

SEED_VARIABLE = "EXERCISES_SEED"  # path of a file with the instructor's seed
ASSIGNMENTS = Path(__file__).parent.parent.parent / "exercises"


class ExerciseError(LabError):
    """An assignment, a check or a submission that can't be found or read."""


def find_assignments() -> Path:
    """Return the checkout's folder ``exercises``.

    Raises:
        ExerciseError: it holds no checks, as in a student kit.
    """
    if (ASSIGNMENTS / "checks").is_dir():
        return ASSIGNMENTS
    raise ExerciseError(
        "the hidden checks are not in this kit: your instructor has them; "
        "`check(…)` in the notebook tries the visible ones"
    )


def topics(assignments: Path) -> list[str]:
    """Return the names of all assignments, in order."""
    return sorted(path.stem for path in (assignments / "checks").glob("[0-9][0-9]_*.py"))


@cache
def load_tasks(assignments: Path, topic: str) -> dict[str, Task]:
    """Return the tasks of an assignment by the names of their functions.

    Raises:
        ExerciseError: the assignment does not exist; names those that do.
    """
    path = assignments / "checks" / f"{topic}.py"
    if not path.is_file():
        names = ", ".join(topics(assignments))
        raise ExerciseError(f"no assignment {topic!r}: choose from {names}")
    spec = importlib.util.spec_from_file_location(f"checks_{topic}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {task.function: task for task in module.TASKS}


def topic_of(path: Path, assignments: Path) -> str:
    """Return the assignment with whose number a notebook's name begins.

    Raises:
        ExerciseError: no assignment has this number.
    """
    for topic in topics(assignments):
        if path.stem[:2] == topic[:2]:
            return topic
    numbers = ", ".join(topic[:2] for topic in topics(assignments))
    message = f"{path.name} belongs to no assignment: its name must begin with one of {numbers}"
    raise ExerciseError(message)


@cache
def secret_seed(assignments: Path) -> str:
    """Return the seed of the hidden inputs, from EXERCISES_SEED's file or `assignments`/.seed.

    The second file is made if needed. The variable is removed from the environment, where graded
    code could look for it.

    Raises:
        ExerciseError: the variable names a file that does not exist.
    """
    name = os.environ.pop(SEED_VARIABLE, None)
    path = Path(name).expanduser() if name else assignments / ".seed"
    if name and not path.is_file():
        remedy = "put any secret text into one"
        raise ExerciseError(f"{SEED_VARIABLE} names {name!r}, and there is no such file: {remedy}")
    if not path.is_file():
        path.write_text(secrets.token_hex(16) + "\n", encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()
