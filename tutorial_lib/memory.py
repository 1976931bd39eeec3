"""The memory of a full fine-tuning that the model alone decides: weights, gradients and the optimizer's states."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Precision:
    """How many bytes a parameter's weight, its gradient and each optimizer state take."""

    weight: int
    gradient: int
    state: int


# Autocast computes in bfloat16 but keeps the weights, and with them gradients and states, in float32.
PRECISIONS: Mapping[str, Precision] = MappingProxyType(
    {"float32": Precision(4, 4, 4), "bfloat16 autocast": Precision(4, 4, 4), "bfloat16 weights": Precision(2, 2, 2)}
)
# States a parameter: Adam's two moments, momentum's one.
OPTIMIZER_STATES: Mapping[str, int] = MappingProxyType({"AdamW": 2, "SGD with momentum": 1, "SGD": 0})
CARDS = (8, 16, 24, 48, 80)  # memory of usual graphics cards (GiB)


def fixed_memory(parameters: int, precision: str = "float32", optimizer: str = "AdamW") -> dict[str, int]:
    """Return the bytes of ``weights``, ``gradients`` and ``optimizer states``; activations come on top.

    Args:
        parameters: of the model, all of them trained.
        precision: a key of PRECISIONS.
        optimizer: a key of OPTIMIZER_STATES.

    Raises:
        ValueError: a negative number of parameters, or a precision or optimizer that is not listed.
    """
    if parameters < 0:
        raise ValueError(f"parameters is {parameters}: give a number of at least 0")
    for name, chosen, known in (("precision", precision, PRECISIONS), ("optimizer", optimizer, OPTIMIZER_STATES)):
        if chosen not in known:
            raise ValueError(f"{name} {chosen!r} is not known: choose one of {', '.join(known)}")
    size = PRECISIONS[precision]
    return {
        "weights": size.weight * parameters,
        "gradients": size.gradient * parameters,
        "optimizer states": OPTIMIZER_STATES[optimizer] * size.state * parameters,
    }
