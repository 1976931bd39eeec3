"""The article's training recipe, as a plain transformers Trainer."""

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
    TrainingArguments,
)

from tutorial_lib.errors import NoSupervisedTokenError, NotFiniteError, listed_rows
from tutorial_lib.fast import FastTrainer, fuse, keep_freed_memory
from tutorial_lib.formatting import IGNORE_INDEX
from tutorial_lib.models import multiplies_bfloat16
from tutorial_lib.profiles import Profile


def training_arguments(
    profile: Profile, output_dir: Path, **overrides: object
) -> TrainingArguments:
    """Return the profile's arguments; `overrides` are TrainingArguments' own names."""
    settings = {
        "output_dir": str(output_dir),
        "per_device_train_batch_size": profile.per_device_train_batch_size,
        "gradient_accumulation_steps": profile.gradient_accumulation_steps,
        "logging_steps": profile.logging_steps,
        "num_train_epochs": profile.num_train_epochs,
        "learning_rate": profile.learning_rate,
        "warmup_steps": profile.warmup_steps,
        "seed": profile.seed,
        # Without an accelerator, processes find each other only if they are told to use the CPU.
        "use_cpu": not torch.accelerator.is_available(),
        "ddp_find_unused_parameters": False,  # every step uses every parameter
        "bf16": profile.fast and multiplies_bfloat16(),
        "logging_nan_inf_filter": False,  # a loss that is not a number must be seen
        # Pinned memory helps copies to a GPU only.
        "dataloader_pin_memory": torch.cuda.is_available(),
        **profile.schedule,
    }
    return TrainingArguments(**{**settings, **overrides})


def build_trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train_dataset: Dataset | Sequence[Mapping],
    arguments: TrainingArguments,
    callbacks: Sequence[TrainerCallback] = (),
    *,
    fast: bool = False,
) -> Trainer:
    """Return a plain Trainer with the article's collator, or one that does the same in less time.

    Args:
        model: a causal language model with float32 weights.
        tokenizer: pads the batches, on its own ``padding_side``.
        train_dataset: examples as ``data.encode_dataset`` makes them.
        arguments: e.g. from ``training_arguments``.
        callbacks: further callbacks.
        fast: train with the parts of ``fast``; `model` is changed in place.

    Raises:
        NoSupervisedTokenError: examples without a target; names them. (Trainer would log a loss
            of 0 for a step of them.)
    """
    is_dataset = isinstance(train_dataset, Dataset)  # whose columns are faster than its rows
    labels = train_dataset["labels"] if is_dataset else [row["labels"] for row in train_dataset]
    dead = [number for number, each in enumerate(labels) if set(each) <= {IGNORE_INDEX}]
    if dead:
        raise NoSupervisedTokenError(
            f"{len(dead)} of {len(train_dataset)} rows have no label to learn from (rows "
            f"{listed_rows(dead)}, counted from 0): leave them out, as encode_dataset does, or "
            f"raise max_length"
        )
    if fast:
        if not is_dataset:
            train_dataset = Dataset.from_list(list(train_dataset))
        keep_freed_memory()
        fuse(model)
    return (FastTrainer if fast else Trainer)(
        model=model,
        args=arguments,
        train_dataset=train_dataset,
        data_collator=DataCollatorForSeq2Seq(tokenizer=tokenizer, padding=True),
        processing_class=tokenizer,
        callbacks=[StopOnNaN(), *callbacks],
    )


class StopOnNaN(TrainerCallback):
    """Ends a training whose loss or gradient is not finite: every later step would be lost."""

    def on_log(self, args, state, control, logs, **kwargs) -> None:
        """Check what is logged.

        Raises:
            NotFiniteError: it is nan or infinite; names the steps.
        """
        for name in ("loss", "grad_norm"):
            if not math.isfinite(logs.get(name, 0.0)):
                first = max(1, state.global_step - int(args.logging_steps) + 1)
                raise NotFiniteError(
                    f"{name} is {logs[name]} in step {first} to {state.global_step}: the weights "
                    f"are lost from there on. Go back to a checkpoint before it; take a smaller "
                    f"learning rate (now {args.learning_rate:g}), or float32 weights"
                )


def whole_model(trainer: Trainer) -> PreTrainedModel:
    """Return the whole trained model on every process; all of them must call this.

    Where FSDP or DeepSpeed left a shard on each, the shards are gathered; the copy takes the
    memory of all parameters on each process.
    """
    if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        return trainer.accelerator.unwrap_model(trainer.model_wrapped)
    shared = [trainer.accelerator.get_state_dict(trainer.model_wrapped)]
    broadcast_object_list(shared)  # only the first process has gathered it
    whole = AutoModelForCausalLM.from_config(trainer.model.config, dtype=torch.float32)
    whole.load_state_dict(shared[0], strict=False)  # a tied output head has no tensor of its own
    whole.tie_weights()
    return whole.to(trainer.args.device).eval()
