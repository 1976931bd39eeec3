"""Fully sharded training (FSDP2) in plain PyTorch: each process holds a part of every parameter.

On GPUs the kit leaves this to Trainer and accelerate (``configs/fsdp2_8.yaml``). This module
works on processors, where those two fall back to whole copies. After PyTorch's documentation of
``fully_shard`` (FSDP2), and Zhao et al., arXiv 2304.11277.
"""

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as checkpoint
from torch.distributed.checkpoint.state_dict import get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from tutorial_lib.formatting import IGNORE_INDEX


def shard(model: PreTrainedModel) -> PreTrainedModel:
    """Divide every parameter of `model` among all processes, in place.

    Each layer is a unit, the rest of the model another. A unit's parameters are gathered when its
    forward or backward pass begins, and freed when it ends.
    """
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    names = model._no_split_modules
    for layer in [module for module in model.modules() if type(module).__name__ in names]:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def local_and_total(model: torch.nn.Module) -> tuple[int, int]:
    """Return how many parameters this process holds, and how many there are (tied ones once)."""
    parameters = list(model.parameters())
    local = sum(p.to_local().numel() if isinstance(p, DTensor) else p.numel() for p in parameters)
    return local, sum(p.numel() for p in parameters)


def train_step(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, batch: Mapping[str, torch.Tensor]
) -> float:
    """Do one step on this process's rows; return the loss of all rows, the same on every process.

    Args:
        model: sharded or whole.
        optimizer: of the model's parameters.
        batch: ``input_ids``, ``attention_mask``, ``labels``: int64, (rows, length).
    """
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    logits, labels = model(**inputs).logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten()
    summed = cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="sum")
    supervised = (labels != IGNORE_INDEX).sum().to(summed.dtype)
    totals = torch.stack([summed.detach(), supervised])
    world = dist.get_world_size() if dist.is_initialized() else 1
    if world > 1:
        dist.all_reduce(totals)
    # FSDP averages gradients over the processes. So each process divides its sum by the tokens of
    # *all* processes and multiplies by their number: every token then weighs the same.
    (summed * world / totals[1]).backward()
    optimizer.step()
    optimizer.zero_grad()
    return float(totals[0] / totals[1])


def digest(weights: Mapping[str, torch.Tensor]) -> str:
    """Return a SHA-256 of every bit of whole tensors, in the order of their names."""
    together = hashlib.sha256()
    for name in sorted(weights):
        together.update(weights[name].detach().contiguous().numpy().tobytes())
    return together.hexdigest()


def load_whole(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Load a sharded checkpoint into a whole model in this one process, in place."""
    weights = get_model_state_dict(model)
    with warnings.catch_warnings():
        single = "torch.distributed is disabled"  # which is what `no_dist` means
        warnings.filterwarnings("ignore", message=single, category=UserWarning)
        checkpoint.load({"model": weights}, checkpoint_id=folder, no_dist=True)
    model.load_state_dict(weights)
    return model
