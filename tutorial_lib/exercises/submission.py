"""Read what a student handed in, whatever state it is in."""

import ast
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tutorial_lib.exercises.catalogue import ExerciseError

LARGEST = 20 << 20  # bytes


@dataclass(frozen=True)
class Submission:
    """The code of a notebook."""

    answers: dict[str, str]  # function -> source of its cell
    helpers: list[str]  # sources of the other cells in which the student may have written
    remarks: tuple[str, ...]  # what was odd, e.g. two cells of one task


def read_submission(path: Path, functions: Collection[str]) -> Submission:
    """Return the cells of a notebook by the tasks that they solve.

    A cell's id names its task; a cell that has lost its id belongs to the task whose function it
    defines.

    Raises:
        ExerciseError: the file is too large, or is not a notebook.
    """
    answers: dict[str, str] = {}
    helpers: list[str] = []
    remarks: list[str] = []
    for cell_id, source in _code_cells(path):
        function = cell_id or _defined_function(source, functions, remarks)
        if function in answers:
            remarks.append(f"{function}: its cell is there twice; the first one is graded")
        elif function in functions:
            answers[function] = source
        elif function.partition("-")[0] not in functions:  # not FUNCTION-check, FUNCTION-measure
            helpers.append(source)
    return Submission(answers, helpers, tuple(remarks))


def _code_cells(path: Path) -> list[tuple[str, str]]:
    """Return id (or an empty text) and source of each code cell."""
    try:
        size = path.stat().st_size
        if size > LARGEST:
            remedy = "clear its outputs and hand it in again"
            raise ExerciseError(f"the notebook has {size / 1e6:,.0f} MB: {remedy}")
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = [cell for cell in cells if cell.get("cell_type") == "code"]
        return [(_id(cell), "".join(cell.get("source", ""))) for cell in code]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        remedy = "save it in JupyterLab and hand it in again"
        message = f"this is not a readable notebook ({type(error).__name__}): {remedy}"
        raise ExerciseError(message) from None


def _id(cell: dict) -> str:
    metadata = cell.get("metadata", {}).get("nbgrader", {})
    return str(metadata.get("grade_id", "")) if isinstance(metadata, dict) else ""


def _defined_function(source: str, functions: Collection[str], remarks: list[str]) -> str:
    """Return the first of `functions` that a cell defines, or an empty text."""
    try:
        statements = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        problem = f"a cell without its id is not valid Python ({type(error).__name__})"
        names = [name for name in functions if f"def {name}" in source]
        remarks += [f"{name}: {problem}: it is not graded" for name in names]
        return ""
    names = [each.name for each in statements if isinstance(each, ast.FunctionDef)]
    return next((name for name in functions if name in names), "")
