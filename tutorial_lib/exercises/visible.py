"""The check below each task: a few cases, and in words which of them is not right."""

import json
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path

from tutorial_lib.exercises.plain import NotPlainError, same, to_plain

# function -> cases with their expected answers; written by `release`
CASES = Path(__file__).parent / "visible.json"
SHOWN_LENGTH = 300  # characters of the arguments in a message


def check(function: Callable) -> None:
    """Try the function on a few cases and say what is right; grading tries more cases.

    Raises:
        AssertionError: a case is not right; says which one, and how.
        ValueError: no task has a function of this name.
    """
    name = getattr(function, "__name__", str(function))
    if name not in _all_cases():
        raise ValueError(f"no task asks for a function {name!r}: keep the name that the task gives")
    cases = _all_cases()[name]
    for case in cases:
        trouble = _trouble(function, case)
        if trouble:
            arguments = ", ".join(map(repr, case["arguments"]))
            if len(arguments) > SHOWN_LENGTH:
                arguments = arguments[:SHOWN_LENGTH] + " …"
            raise AssertionError(
                f"{name}: {case['idea']}: {trouble} for {case['words']}: called with {arguments}"
            )
    ideas = "; ".join(dict.fromkeys(case["idea"] for case in cases))
    print(f"{name}: {len(cases)} cases are right ({ideas}). Grading tries more of them.")


def _trouble(function: Callable, case: dict) -> str:
    try:
        answer = to_plain(function(*deepcopy(case["arguments"])))
    except NotImplementedError:
        return "not written yet"
    except NotPlainError as error:
        return f"expected numbers, texts, lists or dictionaries, found {error}"
    except Exception as error:
        return f"raises {type(error).__name__}: {error}"
    right = same(case["expected"], answer, case["tolerance"])
    return "" if right else "another answer was expected"


@cache
def _all_cases() -> dict[str, list[dict]]:
    return json.loads(CASES.read_text(encoding="utf-8"))
