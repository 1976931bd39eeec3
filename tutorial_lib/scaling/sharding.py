"""Fully sharded training (FSDP2) in plain PyTorch, small enough to read: each process holds a part of every parameter.

``python -m tutorial_lib.launch --module tutorial_lib.scaling.sharding --processes 2 --out runs/sharded`` trains TinyWorld's base for a few steps,
every parameter, gradient and optimizer state divided among the processes, and saves a sharded checkpoint. On GPUs the kit leaves this to
Trainer and accelerate (``configs/fsdp2_8.yaml``); this module exists to be seen working on a processor, where those two fall back to
whole copies.

After PyTorch's ``fully_shard`` (FSDP2) documentation, and Zhao et al., arXiv 2304.11277.
"""

import argparse
import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as checkpoint
from accelerate import PartialState
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.functional import cross_entropy
from transformers import DataCollatorForSeq2Seq, PreTrainedModel, set_seed

from tutorial_lib.command import run_command
from tutorial_lib.data import encode_dataset, load_splits
from tutorial_lib.models import load_model, load_tokenizer
from tutorial_lib.processes import join_processes, own_share, until_all_are_done
from tutorial_lib.profiles import get_profile
from tutorial_lib.run_folder import prepare_output, write_json

FIGURES_FILE = "metrics.json"
CHECKPOINT_FOLDER = "sharded"
IGNORED = -100


def shard(model: PreTrainedModel) -> PreTrainedModel:
    """Divide every parameter of `model` among all processes, in place: each layer is a unit, what is around the layers another.

    A unit's parameters are gathered when its forward or backward pass begins, and let go when it has ended.
    """
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    layers = [
        module for module in model.modules() if type(module).__name__ in model._no_split_modules
    ]
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def local_and_total(model: torch.nn.Module) -> tuple[int, int]:
    """Return how many parameter elements this process holds, and how many there are in all; tied ones count once."""
    parameters = list(model.parameters())
    local = sum(p.to_local().numel() if isinstance(p, DTensor) else p.numel() for p in parameters)
    return local, sum(p.numel() for p in parameters)


def train_step(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, batch: Mapping[str, torch.Tensor]
) -> float:
    """Do one step on this process's rows of the batch and return the loss of the whole batch, the same on every process.

    Args:
        model: sharded or whole.
        optimizer: of its parameters.
        batch: ``input_ids``, ``attention_mask``, ``labels``: int64, (rows, length).
    """
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[
        :, :-1
    ]
    labels = batch["labels"][:, 1:]
    summed = cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    totals = torch.stack([summed.detach(), (labels != IGNORED).sum().to(summed.dtype)])
    world = dist.get_world_size() if dist.is_initialized() else 1
    if world > 1:
        dist.all_reduce(totals)
    # FSDP averages gradients over the processes. Each process's sum over *all* processes' tokens, times their number, averages to the
    # loss of the whole batch, in which every token weighs the same.
    (summed * world / totals[1]).backward()
    optimizer.step()
    optimizer.zero_grad()
    return float(totals[0] / totals[1])


def digest(weights: Mapping[str, torch.Tensor]) -> str:
    """Return a SHA-256 of whole tensors: of every bit, in the order of their names."""
    together = hashlib.sha256()
    for name in sorted(weights):
        together.update(weights[name].detach().contiguous().numpy().tobytes())
    return together.hexdigest()


def _train(options: argparse.Namespace, state: PartialState) -> None:
    profile = get_profile("tiny")
    tokenizer = load_tokenizer(options.model)
    with state.main_process_first():
        rows = load_splits(profile.dataset)["train"]
    model = load_model(options.model)
    if state.is_main_process:
        prepare_output(
            options.out, {"model": options.model, "steps": options.steps}, model.num_parameters()
        )
    state.wait_for_everyone()
    set_seed(profile.seed)
    if state.num_processes > 1:
        shard(model)
    local, total = local_and_total(model)
    print(
        f"process {state.process_index}: holds {local:,} of {total:,} parameters ({local / total:.1%})",
        flush=True,
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=profile.learning_rate)
    needed = options.steps * options.rows
    encoded = encode_dataset(
        rows.select(range(min(2 * needed, len(rows)))), tokenizer, profile.max_length
    ).dataset
    encoded = encoded.select(range(min(needed, len(encoded))))
    collate = DataCollatorForSeq2Seq(tokenizer)
    losses = []
    for start in range(0, len(encoded) - options.rows + 1, options.rows):
        mine = own_share(encoded.select(range(start, start + options.rows)).to_list(), state)
        losses.append(train_step(model, optimizer, collate(mine)))
    # Each process writes its own part; nobody gathers the whole.
    checkpoint.save(
        {"model": get_model_state_dict(model)}, checkpoint_id=options.out / CHECKPOINT_FOLDER
    )
    whole = get_model_state_dict(
        model, options=StateDictOptions(full_state_dict=True, cpu_offload=True)
    )
    if state.is_main_process:
        figures = {
            "processes": state.num_processes,
            "local": local,
            "total": total,
            "losses": losses,
            "digest": digest(whole),
        }
        write_json(options.out / FIGURES_FILE, figures)
        print(
            f"{len(losses)} steps, loss {losses[0]:.3f} to {losses[-1]:.3f}; sharded checkpoint in {options.out / CHECKPOINT_FOLDER}"
        )


def load_whole(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Load a sharded checkpoint that any number of processes wrote into a whole model in this one process, in place."""
    weights = get_model_state_dict(model)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="torch.distributed is disabled", category=UserWarning
        )  # that is what is asked for
        checkpoint.load({"model": weights}, checkpoint_id=folder, no_dist=True)
    model.load_state_dict(weights)
    return model


def main(arguments: Sequence[str] | None = None) -> None:
    """Train a few sharded steps and save."""
    parser = argparse.ArgumentParser(
        prog="python -m tutorial_lib.scaling.sharding", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument(
        "--model", default="tinyworld", help="tinyworld or a local folder (default: tinyworld)"
    )
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rows", type=int, default=32, help="rows a step, all processes together")
    parser.add_argument(
        "--processes", type=int, help="refuse to run unless so many processes train together"
    )
    options = parser.parse_args(arguments)
    state = join_processes(options.processes)
    with until_all_are_done(state):
        _train(options, state)


if __name__ == "__main__":
    run_command(main)
