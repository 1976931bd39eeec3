"""The fast recipe: the same training in less time; notebook 12 explains and measures each part.

Examples of similar length share a batch, so nearly no padding is computed; matrices are multiplied
in bfloat16 where the processor can; logits are computed for the answers only, since nothing else
carries loss; Bloom's activation is one operation instead of ten; and the memory that one step
frees is kept for the next.
"""

import ctypes
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from datasets import Dataset
from torch.nn.functional import cross_entropy
from torch.utils.data import Sampler
from transformers import PreTrainedModel, Trainer
from transformers.models.bloom.modeling_bloom import BloomGelu

from tutorial_lib.formatting import IGNORE_INDEX

# <malloc.h>: M_MMAP_MAX (0: no separate block for any tensor), M_TRIM_THRESHOLD and M_TOP_PAD
# (both in bytes).
GLIBC_OPTIONS = ((-4, 0), (-1, 2**31 - 1), (-2, 2**26))


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory for this process's next request; return whether it could.

    By default large tensors go back to the system when they are freed, and the next step pays for
    every page again. The process stays as large as its peak. (``mallopt(3)``.)
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(option, value) for option, value in GLIBC_OPTIONS)


def fuse(model: PreTrainedModel) -> PreTrainedModel:
    """Prepare a Bloom in place for faster training and return it; leave other models unchanged.

    Bloom's GELU is ten operations on the widest activations of the model; torch's own is one, and
    equal to it up to float32 rounding. Under bfloat16 autocast, Bloom's layers pass float32 on, and
    every matrix product casts its input; if the embeddings' output is cast once, all layers pass
    bfloat16 on. Weights remain float32, and nothing of this is saved with the model.
    """
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, BloomGelu):
                setattr(module, name, torch.nn.GELU(approximate="tanh"))
    if model.config.model_type == "bloom":
        model.transformer.word_embeddings_layernorm.register_forward_hook(_to_autocast_dtype)
    return model


def _to_autocast_dtype(
    module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor
) -> torch.Tensor:
    device = output.device.type
    if not torch.is_autocast_enabled(device):
        return output
    return output.to(torch.get_autocast_dtype(device))


def answer_loss(
    model: torch.nn.Module,
    batch: Mapping[str, torch.Tensor],
    num_items: torch.Tensor | int | None = None,
) -> torch.Tensor:
    """Return the causal LM loss of a batch without computing logits before its first target.

    With padding on the left, answers are at the end of every row: ``logits_to_keep`` leaves out
    the positions before the first label of the batch. (Padding on the right gives the same loss,
    and saves less.)

    Args:
        model: a causal language model whose ``forward`` takes ``logits_to_keep``.
        batch: int64 tensors of shape (rows, length): ``input_ids``, ``attention_mask``, ``labels``.
        num_items: divides the sum of losses, e.g. the supervised tokens of all batches of an
            optimizer step; None: the supervised tokens of this batch.

    Returns:
        A float32 scalar: nats per supervised token.
    """
    labels = batch["labels"]
    length = labels.shape[1]
    supervised = (labels != IGNORE_INDEX).any(dim=0).nonzero()
    first = max(int(supervised[0]), 1) if len(supervised) else length - 1
    # Each position predicts the token after it.
    predicting = torch.arange(first - 1, length - 1, device=labels.device)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    logits = model(**inputs, use_cache=False, logits_to_keep=predicting).logits.flatten(0, 1)
    targets = labels[:, first:].flatten()
    total = cross_entropy(logits.float(), targets, ignore_index=IGNORE_INDEX, reduction="sum")
    return total / ((targets != IGNORE_INDEX).sum() if num_items is None else num_items)


@dataclass
class LengthSortedSampler(Sampler[int]):
    """Every row once per epoch, in batches of similar length, in random order; the longest late.

    Short rows first is a curriculum (compare SortaGrad, arXiv 1512.02595, section 3.3): their
    steps cost less, and short answers are learnt first.

    Args:
        lengths: tokens per row.
        batch_size: rows per batch.
        seed: the same seed and epoch give the same order; accelerate calls ``set_epoch``.
        beginning: share of the epoch's batches that are drawn from the shorter ones first; all
            other batches follow, mixed.
        shorter: share of the batches that count as shorter.
    """

    lengths: Sequence[int]
    batch_size: int
    seed: int
    beginning: float = 1 / 4
    shorter: float = 4 / 5
    _epoch: int = field(default=0, init=False)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch, counted from 0."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        """Yield row numbers, batch after batch."""
        rng = random.Random(f"{self.seed} {self._epoch}")
        order = sorted(rng.sample(range(len(self)), len(self)), key=self.lengths.__getitem__)
        whole = len(self) - len(self) % self.batch_size
        starts = list(range(0, whole, self.batch_size))
        shorter = round(len(starts) * self.shorter)
        early = min(round(len(starts) * self.beginning), shorter)
        drawn = rng.sample(starts[:shorter], shorter)
        late = drawn[early:] + starts[shorter:]
        # The rest is a smaller batch of the longest rows: at the end, or it would shift the others.
        for start in [*drawn[:early], *rng.sample(late, len(late)), whole]:
            yield from order[start : start + self.batch_size]


class FastTrainer(Trainer):
    """A Trainer with batches of similar length and ``answer_loss``; its batches need ``labels``."""

    # The loss is divided by the supervised tokens of all batches of an optimizer step already.
    loss_is_scaled_for_ga = True

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> LengthSortedSampler:
        rows = self.train_dataset if train_dataset is None else train_dataset
        lengths = [len(ids) for ids in rows["input_ids"]]
        return LengthSortedSampler(lengths, self.args.train_batch_size, self.args.seed)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Mapping[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Return ``answer_loss``, per supervised token of the optimizer step, as Trainer does."""
        loss = answer_loss(model, inputs, num_items_in_batch)
        # The tokens are counted over all processes, whose gradients are then averaged.
        if self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes
        return loss
