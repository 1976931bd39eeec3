"""How many processes train together, which is the first, and whether they are as many as asked.

``torchrun`` or ``accelerate launch`` starts them (``python -m tutorial_lib.launch`` calls one of
the two), and accelerate lets them talk to each other.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import PartialState

from tutorial_lib.errors import ProcessesError

FSDP_VARIABLE = "ACCELERATE_USE_FSDP"  # `accelerate launch` sets it for a configuration with FSDP


def join_processes(expected: int | None = None) -> PartialState:
    """Join the other processes of this run and return their common state.

    Args:
        expected: how many there must be; None accepts any number.

    Raises:
        ProcessesError: there are more or fewer (``accelerate launch --cpu --num_processes 2``
            starts one, for example), or FSDP is configured where it would silently do nothing.
    """
    running = int(os.environ.get("WORLD_SIZE", 1))
    if expected is not None and expected != running:
        raise ProcessesError(
            f"{expected} processes were asked for and {running} {'runs' if running == 1 else 'run'}"
            f": start them with python -m tutorial_lib.launch --processes {expected} … (torchrun), "
            f"or say --processes {running}"
        )
    if os.environ.get(FSDP_VARIABLE) == "true" and not torch.accelerator.is_available():
        raise ProcessesError(
            "FSDP was asked for, but this machine has no accelerator, and Trainer would train "
            "unsharded copies without a word: leave the FSDP configuration out, or see sharding "
            "on processors with python -m tutorial_lib.scaling.sharding"
        )
    return PartialState(cpu=not torch.accelerator.is_available())


def batches_per_step(rows_per_step: int, rows_per_batch: int, processes: int) -> int:
    """Return the accumulation with which `processes` see `rows_per_step` rows per optimizer step.

    Raises:
        ProcessesError: the rows can't be divided evenly.
    """
    together = rows_per_batch * processes
    if rows_per_step % together:
        raise ProcessesError(
            f"{rows_per_step} rows per step can't be divided by {processes} processes × "
            f"{rows_per_batch} rows: give --batch-size a number with which processes × rows "
            f"divides {rows_per_step}"
        )
    return rows_per_step // together


@contextmanager
def until_all_are_done(state: PartialState) -> Iterator[None]:
    """Wait for all before exit: if one leaves early, the others are killed while saving."""
    yield
    state.wait_for_everyone()
    state.destroy_process_group()
