"""Answers as plain data: numbers, texts, lists and dictionaries, converted before they are judged.

An object whose ``==`` always says yes is therefore not an answer.
"""

import math

PLAIN = (bool, int, float, str, type(None))
LARGEST = 100_000  # values in one answer


class NotPlainError(TypeError):
    """An answer that is not plain data; the message says what it is."""


def to_plain(value: object) -> object:
    """Return a value as None, bool, int, float, str, list or dict with text keys.

    Tuples, tensors and arrays become lists.

    Raises:
        NotPlainError: it is, or holds, anything else; subclasses of these types, too.
    """
    return _convert(value, [0])


def same(expected: object, answer: object, tolerance: float = 1e-6) -> bool:
    """Tell whether two values of plain data are equal.

    Numbers may differ by `tolerance`, relative or absolute. An int equals a float of the same
    value, but True is not 1; nan equals nan.
    """
    if type(expected) in (int, float) and type(answer) in (int, float):
        both_nan = math.isnan(expected) and math.isnan(answer)
        return both_nan or math.isclose(expected, answer, rel_tol=tolerance, abs_tol=tolerance)
    if type(expected) is not type(answer):
        return False
    if isinstance(expected, dict):
        keys = expected.keys()
        return keys == answer.keys() and all(same(expected[k], answer[k], tolerance) for k in keys)
    if isinstance(expected, list):
        pairs = zip(expected, answer, strict=False)
        return len(expected) == len(answer) and all(same(a, b, tolerance) for a, b in pairs)
    return expected == answer


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
    # Recognized by name, so that a check of lists imports neither library.
    if kind.__module__.split(".")[0] in ("torch", "numpy") and hasattr(kind, "tolist"):
        return _convert(kind.tolist(value), count)
    raise NotPlainError(f"a {kind.__name__}")
