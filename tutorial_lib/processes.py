"""How many processes train together, who is the first of them, and whether they are as many as was asked for.

The processes themselves are started by ``torchrun`` or ``accelerate launch`` (``python -m tutorial_lib.launch`` calls one of them), and
spoken with through accelerate; nothing here is an engine of its own.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

from tutorial_lib.errors import ProcessesError

FSDP_VARIABLE = "ACCELERATE_USE_FSDP"  # what `accelerate launch` sets for a configuration with FSDP


def join_processes(asked: int | None = None) -> PartialState:
    """Join the other processes of this run and return the state: ``process_index``, ``num_processes``, ``device``.

    Args:
        asked: how many there are to be; None asks nothing.

    Raises:
        ProcessesError: there are not as many as asked for (``accelerate launch --cpu --num_processes 2`` starts one, for example), or
            sharding was asked for where this machine would silently do without.
    """
    running = int(os.environ.get("WORLD_SIZE", 1))
    if asked is not None and asked != running:
        raise ProcessesError(
            f"{asked} processes were asked for and {running} {'runs' if running == 1 else 'run'}: start them with "
            f"python -m tutorial_lib.launch --processes {asked} … (torchrun), or say --processes {running}"
        )
    if os.environ.get(FSDP_VARIABLE) == "true" and not torch.accelerator.is_available():
        raise ProcessesError(
            "FSDP was asked for, but this machine has no accelerator, and Trainer would train unsharded copies without a word: "
            "leave the FSDP configuration out, or see sharding on processors with python -m tutorial_lib.scaling.sharding"
        )
    return PartialState(cpu=not torch.accelerator.is_available())


def batches_a_step(rows_a_step: int, rows_a_batch: int, processes: int) -> int:
    """Return the gradient accumulation with which `processes` together see `rows_a_step` rows an optimizer step.

    Raises:
        ProcessesError: it does not come out even.
    """
    together = rows_a_batch * processes
    if rows_a_step % together:
        raise ProcessesError(
            f"{rows_a_step} rows a step can't be divided by {processes} processes × {rows_a_batch} rows: give --batch-size a number "
            f"with which processes × rows divides {rows_a_step}"
        )
    return rows_a_step // together


def own_share(rows: Sequence, state: PartialState | None) -> list:
    """Return every ``num_processes``-th of `rows`: this process's share; all of them where there are no others (None)."""
    if state is None:
        return list(rows)
    return list(rows[state.process_index :: state.num_processes])


def gather_shares(mine: Sequence, state: PartialState | None) -> list:
    """Put the results of ``own_share``'s rows together again, in the rows' order; every process gets them all."""
    if state is None or state.num_processes == 1:
        return list(mine)
    shares = gather_object([list(mine)])
    longest = max(map(len, shares))
    return [share[place] for place in range(longest) for share in shares if place < len(share)]


@contextmanager
def until_all_are_done(state: PartialState) -> Iterator[None]:
    """Leave together: a process that goes early would take a peer that is still saving with it."""
    yield
    state.wait_for_everyone()
    state.destroy_process_group()
