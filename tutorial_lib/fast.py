"""The fast recipe: the same training in less time. Notebook 12 takes it apart and measures each part.

Rows of like length share a batch, so that (nearly) no padding is computed; matrices are multiplied in bfloat16 where the processor can;
logits are computed for the answers alone, since nothing else carries loss; Bloom's activation runs in one operation instead of ten; and
memory that a step frees is kept for the next one.
"""

import ctypes
import random
import sys
from collections.abc import Iterator, Mapping, Sequence

import torch
from datasets import Dataset
from torch.nn.functional import cross_entropy
from torch.utils.data import Sampler
from transformers import PreTrainedModel, Trainer
from transformers.models.bloom.modeling_bloom import BloomGelu

from tutorial_lib.formatting import IGNORE_INDEX

BFLOAT16_FEATURES = (
    "avx512_bf16",
    "amx_bf16",
)  # processors that multiply bfloat16 matrices faster than float32 ones

# <malloc.h>'s M_MMAP_MAX (no block of its own for any tensor), M_TRIM_THRESHOLD and M_TOP_PAD (both in bytes)
GLIBC_OPTIONS = ((-4, 0), (-1, 2**31 - 1), (-2, 2**26))


def multiplies_bfloat16() -> bool:
    """Tell whether bfloat16 pays here: on a GPU that has it, or a processor with instructions of its own for it."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(feature) for feature in BFLOAT16_FEATURES)


def keep_freed_memory() -> bool:
    """Tell glibc to keep what this process frees for its next request; return whether there is a glibc that understood.

    By default large tensors go back to the system when they are freed, and the next step pays for every page of them anew. The process
    stays as large as its peak. (``mallopt(3)``.)
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(option, value) for option, value in GLIBC_OPTIONS)


def fuse(model: PreTrainedModel) -> PreTrainedModel:
    """Prepare a Bloom in place for faster training, and return it; another model comes back as it was.

    Bloom's GELU is ten operations, each of which reads and writes the widest activations of the model; torch's own is one, and the same
    function (to float32's rounding). And under bfloat16 autocast, layers hand float32 to each other, so that every matrix product casts
    what it reads: with the embeddings' output cast once, all stays bfloat16 on the way through. Weights remain float32. Nothing of this
    is saved with the model.
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
    kind = output.device.type
    return output.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else output


def answer_loss(
    model: torch.nn.Module,
    batch: Mapping[str, torch.Tensor],
    num_items: torch.Tensor | int | None = None,
) -> torch.Tensor:
    """Return the causal LM loss of a batch, with logits for the places that need them alone.

    With padding on the left, answers stand at the end of every row: ``logits_to_keep`` leaves out the positions before the batch's first
    label. (With padding on the right it is right as well, and saves less.)

    Args:
        model: a causal language model whose ``forward`` takes ``logits_to_keep``.
        batch: int64 tensors of shape (rows, length): ``input_ids``, ``attention_mask``, ``labels``.
        num_items: what the sum is divided by, e.g. the supervised tokens of all batches of an optimizer step; None: those of this batch.

    Returns:
        A float32 scalar: nats a supervised token.
    """
    labels = batch["labels"]
    supervised = (labels != IGNORE_INDEX).any(dim=0).nonzero()
    first = max(int(supervised[0]), 1) if len(supervised) else labels.shape[1] - 1
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    predicting = torch.arange(
        first - 1, labels.shape[1] - 1, device=labels.device
    )  # each place predicts the token after it
    logits = model(**inputs, use_cache=False, logits_to_keep=predicting).logits
    targets = labels[:, first:]
    total = cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORE_INDEX, reduction="sum"
    )
    return total / ((targets != IGNORE_INDEX).sum() if num_items is None else num_items)


class LengthSortedSampler(Sampler[int]):
    """All rows once an epoch, in batches of like length, in random order; but the longest rows do not come at the beginning.

    Short rows first is a curriculum (compare SortaGrad, arXiv 1512.02595, section 3.3): a step of them costs less, and a short answer
    is learnt first.

    Args:
        lengths: tokens of each row.
        batch_size: rows a batch.
        seed: same seed and epoch, same order; ``set_epoch`` is called by accelerate.
        beginning: this share of the epoch's batches is drawn from the shorter ones; then what is left of them and the longest are mixed.
        shorter: the share of batches that are not the longest.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        seed: int,
        beginning: float = 1 / 4,
        shorter: float = 4 / 5,
    ) -> None:
        self._lengths, self._batch_size, self._seed, self._epoch = lengths, batch_size, seed, 0
        self._beginning, self._shorter = beginning, shorter

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch, counted from 0."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        """Yield row numbers, batch after batch."""
        rng = random.Random(f"{self._seed} {self._epoch}")
        order = sorted(rng.sample(range(len(self)), len(self)), key=self._lengths.__getitem__)
        whole = len(self) - len(self) % self._batch_size
        starts = list(range(0, whole, self._batch_size))
        shorter = round(len(starts) * self._shorter)
        early = min(round(len(starts) * self._beginning), shorter)
        drawn = rng.sample(starts[:shorter], shorter)
        late = drawn[early:] + starts[shorter:]
        # What is left over is a smaller batch of the longest rows: at the end, or it would shift all that follow.
        starts = [*drawn[:early], *rng.sample(late, len(late)), whole]
        yield from (
            order[i]
            for start in starts
            for i in range(start, min(start + self._batch_size, len(self)))
        )


class FastTrainer(Trainer):
    """A Trainer with rows of like length in a batch and logits for answers alone; its batches need ``labels``."""

    loss_is_scaled_for_ga = True  # divided by the supervised tokens of all batches of a step, not by the number of batches

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> LengthSortedSampler:
        rows = self.train_dataset if train_dataset is None else train_dataset
        return LengthSortedSampler(
            [len(ids) for ids in rows["input_ids"]], self.args.train_batch_size, self.args.seed
        )

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Mapping[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Return ``answer_loss``, over the whole step's supervised tokens as Trainer does it."""
        loss = answer_loss(model, inputs, num_items_in_batch)
        # The tokens were counted over all processes, whose gradients are then averaged.
        return (
            loss * self.accelerator.num_processes
            if self.args.average_tokens_across_devices
            else loss
        )
