"""Read what a student handed in, whatever became of it."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tutorial_lib.exercises.catalogue import ExerciseError

LARGEST = 20 << 20  # bytes
GENERATED = (
    "-check",
    "-measure",
)  # endings of the ids of cells that are given, beside the graded ones


@dataclass(frozen=True)
class Submission:
    """The code of a notebook.

    Attributes:
        answers: function -> source of its cell.
        helpers: sources of the other cells that the student may have written in.
        remarks: what was odd, e.g. a cell that is there twice.
    """

    answers: dict[str, str]
    helpers: list[str]
    remarks: tuple[str, ...] = ()


def read_submission(path: Path, functions: Collection[str]) -> Submission:
    """Return the cells of a notebook by the tasks that they solve.

    A cell belongs to a task by its id, or, where notebook programs have lost the ids, by defining the task's function.

    Raises:
        ExerciseError: too large, no JSON, or no notebook.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise ExerciseError(
                f"the notebook has {size / 1e6:,.0f} MB: clear its outputs and hand it in again"
            )
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources = [(_id(cell), _source(cell)) for cell in cells if cell.get("cell_type") == "code"]
    except ExerciseError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ExerciseError(
            f"this is no notebook that can be read ({type(error).__name__}): save it in JupyterLab and hand it in again"
        ) from None
    answers, helpers, remarks = {}, [], []
    for cell_id, source in sources:
        function = (
            cell_id
            if cell_id in functions
            else _defined(source, functions)
            if not cell_id
            else None
        )
        if function is None:
            if not _is_given(cell_id, functions):
                helpers.append(source)
        elif function in answers:
            remarks.append(f"{function}: its cell is there twice; the first one is graded")
        else:
            answers[function] = source
    return Submission(answers, helpers, tuple(remarks))


def _id(cell: dict) -> str:
    found = cell.get("metadata", {}).get("nbgrader", {})
    return str(found.get("grade_id", "")) if isinstance(found, dict) else ""


def _source(cell: dict) -> str:
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def _defined(source: str, functions: Collection[str]) -> str | None:
    return next((name for name in functions if f"def {name}(" in source), None)


def _is_given(cell_id: str, functions: Collection[str]) -> bool:
    return any(cell_id.startswith(f"{name}-") for name in functions) or cell_id.endswith(GENERATED)
