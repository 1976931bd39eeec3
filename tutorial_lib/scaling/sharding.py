"""``python -m tutorial_lib.scaling.sharding --out runs/sharded``: a few fully sharded steps.

``python -m tutorial_lib.launch --module tutorial_lib.scaling.sharding --processes 2 --out …``
divides every parameter, gradient and optimizer state among the processes, trains, and saves a
sharded checkpoint. ``fsdp`` has the parts.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tutorial_lib.command import run_command
from tutorial_lib.profiles import get_profile
from tutorial_lib.run_folder import METRICS_FILE, prepare_output, write_json

if TYPE_CHECKING:
    from accelerate import PartialState

CHECKPOINT_FOLDER = "sharded"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train a few sharded steps and save."""
    description = "Train a few fully sharded steps on processors, and save a sharded checkpoint."
    program = "python -m tutorial_lib.scaling.sharding"
    parser = argparse.ArgumentParser(program, description=description)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="a new folder")
    add("--model", default="tinyworld", help="tinyworld or a local folder (default: tinyworld)")
    add("--steps", type=int, default=12, help="optimizer steps (default: 12)")
    add("--rows", type=int, default=32, help="rows per step, of all processes (default: 32)")
    add("--processes", type=int, help="refuse to run unless so many processes train together")
    options = parser.parse_args(arguments)
    from tutorial_lib.processes import join_processes, until_all_are_done

    state = join_processes(options.processes)
    with until_all_are_done(state):
        _train(options, state)


def _train(options: argparse.Namespace, state: PartialState) -> None:
    import torch
    import torch.distributed.checkpoint as checkpoint
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
    from transformers import DataCollatorForSeq2Seq, set_seed

    from tutorial_lib.data import encode_dataset, load_splits
    from tutorial_lib.models import load_model, load_tokenizer
    from tutorial_lib.scaling import fsdp

    profile = get_profile("tiny")
    tokenizer = load_tokenizer(options.model)
    with state.main_process_first():
        rows = load_splits(profile.dataset)["train"]
    model = load_model(options.model)
    if state.is_main_process:
        settings = {"model": options.model, "steps": options.steps}
        prepare_output(options.out, settings, model.num_parameters())
    state.wait_for_everyone()
    set_seed(profile.seed)
    if state.num_processes > 1:
        fsdp.shard(model)
    local, total = fsdp.local_and_total(model)
    share = f"{local:,} of {total:,} parameters ({local / total:.1%})"
    print(f"process {state.process_index}: holds {share}", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=profile.learning_rate)
    needed = options.steps * options.rows
    spare = rows.select(range(min(2 * needed, len(rows))))  # some rows can't be encoded
    encoded = encode_dataset(spare, tokenizer, profile.max_length).dataset
    collate = DataCollatorForSeq2Seq(tokenizer)
    losses = []
    for start in range(0, min(needed, len(encoded)) - options.rows + 1, options.rows):
        batch = encoded.select(range(start, start + options.rows)).to_list()
        with state.split_between_processes(batch) as own_rows:
            losses.append(fsdp.train_step(model, optimizer, collate(own_rows)))
    folder = options.out / CHECKPOINT_FOLDER  # each process writes its own part
    checkpoint.save({"model": get_model_state_dict(model)}, checkpoint_id=folder)
    whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
    digest = fsdp.digest(get_model_state_dict(model, options=whole))
    if state.is_main_process:
        metrics = {"processes": state.num_processes, "local": local, "total": total}
        metrics |= {"losses": losses, "digest": digest}
        write_json(options.out / METRICS_FILE, metrics)
        course = f"{len(losses)} steps, loss {losses[0]:.3f} to {losses[-1]:.3f}"
        print(f"{course}; sharded checkpoint in {folder}")


if __name__ == "__main__":
    run_command(main)
