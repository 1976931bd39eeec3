"""The check that stands below each task: a few cases, and what was expected of which, in words."""

import json
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path

from tutorial_lib.exercises.plain import NotPlainError, same, to_plain

CASES = (
    Path(__file__).parent / "visible.json"
)  # function -> cases with what they expect; written by `release`


def check(function: Callable) -> None:
    """Try the function on a few cases and say what is right and what is not; more cases are tried when it is graded.

    Raises:
        AssertionError: a case is not right; says which and what was expected of it, in words.
        ValueError: no task asks for a function of this name.
    """
    name = getattr(function, "__name__", str(function))
    if name not in _cases():
        raise ValueError(f"no task asks for a function {name!r}: keep the name that the task gives")
    for case in _cases()[name]:
        trouble = _trouble(function, case)
        if trouble:
            raise AssertionError(
                f"{name}: {case['idea']}: {trouble} for {case['words']}: called with {_shown(case['arguments'])}"
            )
    ideas = dict.fromkeys(case["idea"] for case in _cases()[name])
    print(
        f"{name}: {len(_cases()[name])} cases are right ({'; '.join(ideas)}). Grading tries more of them."
    )


def _trouble(function: Callable, case: dict) -> str:
    try:
        answer = to_plain(function(*deepcopy(case["arguments"])))
    except NotImplementedError:
        return "not written yet"
    except NotPlainError as error:
        return f"expected numbers, texts, lists or dictionaries, found {error}"
    except Exception as error:
        return f"raises {type(error).__name__}: {error}"
    return (
        "" if same(case["expected"], answer, case["tolerance"]) else "another answer was expected"
    )


def _shown(arguments: list) -> str:
    text = ", ".join(map(repr, arguments))
    return text if len(text) < 300 else text[:300] + " …"


@cache
def _cases() -> dict[str, list[dict]]:
    return json.loads(CASES.read_text(encoding="utf-8"))
