"""Answers as plain data: what a student's function returns is turned into numbers, texts, lists and dictionaries before anyone judges it.

An object that answers "yes" to every ``==`` is then no answer at all.
"""

import math

PLAIN = (bool, int, float, str, type(None))
LARGEST = 100_000  # values in one answer


class NotPlainError(TypeError):
    """An answer that is no plain data; the message says what it is."""


def to_plain(value: object) -> object:
    """Return a value as None, bool, int, float, str, list or dict with text keys; tuples, tensors and arrays become lists.

    Raises:
        NotPlainError: it is, or holds, something else, a subclass of one of these included.
    """
    return _convert(value, [0])


def same(expected: object, answer: object, tolerance: float = 1e-6) -> bool:
    """Tell whether two pieces of plain data say the same.

    Numbers may differ by `tolerance`, relative or absolute; an int equals a float of the same value, but True is not 1; nan equals nan.
    """
    if (
        type(expected) is bool
        or type(answer) is bool
        or isinstance(expected, str | None)
        or isinstance(answer, str | None)
    ):
        return type(expected) is type(answer) and expected == answer
    if isinstance(expected, int | float) and isinstance(answer, int | float):
        both_nan = math.isnan(expected) and math.isnan(answer)
        return both_nan or math.isclose(expected, answer, rel_tol=tolerance, abs_tol=tolerance)
    if isinstance(expected, list) and isinstance(answer, list):
        return len(expected) == len(answer) and all(
            same(a, b, tolerance) for a, b in zip(expected, answer, strict=True)
        )
    if isinstance(expected, dict) and isinstance(answer, dict):
        return expected.keys() == answer.keys() and all(
            same(value, answer[key], tolerance) for key, value in expected.items()
        )
    return False


def _convert(value: object, count: list[int]) -> object:
    count[0] += 1
    if count[0] > LARGEST:
        raise NotPlainError(f"more than {LARGEST:,} values")
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind in (list, tuple):
        return [_convert(item, count) for item in value]
    if kind is dict:
        if not all(type(key) is str for key in value):
            raise NotPlainError("a dictionary whose keys are not all texts")
        return {key: _convert(item, count) for key, item in value.items()}
    # Tensors and arrays are known by name: neither library is imported for a check of lists.
    if kind.__module__.split(".")[0] in ("torch", "numpy") and hasattr(kind, "tolist"):
        return _convert(kind.tolist(value), count)
    raise NotPlainError(f"a {kind.__name__}")
