"""The article's training recipe, as a plain transformers Trainer, and the model that it leaves behind."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from tutorial_lib.errors import NoSupervisedTokenError, NotFiniteError, listed_rows
from tutorial_lib.fast import FastTrainer, fuse, keep_freed_memory, multiplies_bfloat16
from tutorial_lib.formatting import IGNORE_INDEX
from tutorial_lib.profiles import Profile


def training_arguments(
    profile: Profile, output_dir: Path, **overrides: object
) -> TrainingArguments:
    """Return the article's arguments, with the profile's learning rate, seed and batch; `overrides` are TrainingArguments' own names."""
    settings = {
        "output_dir": str(output_dir),
        "per_device_train_batch_size": profile.per_device_train_batch_size,
        "gradient_accumulation_steps": profile.gradient_accumulation_steps,
        "logging_steps": profile.logging_steps,
        "num_train_epochs": profile.num_train_epochs,
        "learning_rate": profile.learning_rate,
        "warmup_steps": profile.warmup_steps,
        "seed": profile.seed,
        # Several processes on a machine without an accelerator find each other only when told that it is the CPU.
        "use_cpu": not torch.accelerator.is_available(),
        "ddp_find_unused_parameters": False,  # every parameter is used in every step: nothing to look for
        "bf16": profile.fast and multiplies_bfloat16(),
        "logging_nan_inf_filter": False,  # a loss that is no number is to be seen
        # A page of host memory that can't be swapped helps copies to a GPU only.
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
    if (profile.decay_power, profile.last_share) != (1, 0):
        lowest = profile.last_share * profile.learning_rate
        settings |= {
            "lr_scheduler_type": "polynomial",
            "lr_scheduler_kwargs": {"power": profile.decay_power, "lr_end": lowest},
        }
    return TrainingArguments(**{**settings, **overrides})


def build_trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train_dataset: Dataset,
    arguments: TrainingArguments,
    callbacks: Sequence[TrainerCallback] = (),
    *,
    fast: bool = False,
) -> Trainer:
    """Return a plain Trainer with the article's collator, or one that computes the same in less time.

    Args:
        model: a causal language model with float32 weights.
        tokenizer: pads the batches, on its own ``padding_side``.
        train_dataset: the columns ``input_ids``, ``attention_mask`` and ``labels`` (lists of ints), as ``data.encode_dataset`` makes them.
        arguments: e.g. from ``training_arguments``.
        callbacks: further callbacks.
        fast: the parts of ``speed``; `model` is prepared in place.

    Raises:
        NoSupervisedTokenError: rows without a single label to learn from; names them. Trainer would log a loss of 0 for a step of them.
    """
    labels_of_rows = _column(train_dataset, "labels")
    if dead := [
        row
        for row, labels in enumerate(labels_of_rows)
        if all(label == IGNORE_INDEX for label in labels)
    ]:
        raise NoSupervisedTokenError(
            f"{len(dead)} of {len(train_dataset)} rows have no label to learn from (rows {listed_rows(dead)}, counted from 0): leave them "
            f"out, as encode_dataset does, or raise max_length"
        )
    if fast:
        keep_freed_memory()
    return (FastTrainer if fast else Trainer)(
        model=fuse(model) if fast else model,
        args=arguments,
        train_dataset=train_dataset,
        data_collator=DataCollatorForSeq2Seq(tokenizer=tokenizer, padding=True),
        processing_class=tokenizer,
        callbacks=[StopOnNaN(), *callbacks],
    )


class StopOnNaN(TrainerCallback):
    """Ends a training whose loss or gradient is no number any more: every later step would be for nothing."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float],
        **kwargs: object,
    ) -> None:
        """Look at what is logged.

        Raises:
            NotFiniteError: it is nan or infinite; names the steps.
        """
        for name in ("loss", "grad_norm"):
            if not math.isfinite(logs.get(name, 0.0)):
                first = max(1, state.global_step - int(args.logging_steps) + 1)
                raise NotFiniteError(
                    f"{name} is {logs[name]} in step {first} to {state.global_step}: the weights are lost from there on. Go back to a "
                    f"checkpoint before it; take a smaller learning rate (now {args.learning_rate:g}), or float32 weights"
                )


def _column(rows: Dataset | Sequence[Mapping], name: str) -> Sequence:
    return rows[name] if isinstance(rows, Dataset) else [row[name] for row in rows]


def whole_model(trainer: Trainer) -> PreTrainedModel:
    """Return the trained model, whole, on every process; where FSDP or DeepSpeed left a shard on each, they gather it (all must call this).

    The gathered copy takes the memory of all parameters on each process.
    """
    if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        return trainer.accelerator.unwrap_model(trainer.model_wrapped)
    gathered = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    shared = [gathered]  # the first process alone has it
    broadcast_object_list(shared)
    whole = AutoModelForCausalLM.from_config(trainer.model.config, dtype=torch.float32)
    whole.load_state_dict(shared[0], strict=False)  # a tied output head is no tensor of its own
    whole.tie_weights()
    return whole.to(trainer.args.device).eval()
