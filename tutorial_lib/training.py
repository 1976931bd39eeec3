"""The article's training recipe, as a plain transformers Trainer, and the model that it leaves behind."""

import json
import math
import shutil
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
    set_seed,
)

from tutorial_lib.checkpoints import LOCK_FILE, make_folder
from tutorial_lib.data import encode_dataset, load_splits
from tutorial_lib.errors import NoSupervisedTokenError, NotFiniteError, OutputError, listed_rows
from tutorial_lib.files import replacing
from tutorial_lib.formatting import IGNORE_INDEX
from tutorial_lib.models import load_model, load_tokenizer
from tutorial_lib.profiles import Profile
from tutorial_lib.speed import FastTrainer, fuse, keep_freed_memory, multiplies_bfloat16

METRICS_FILE = "metrics.json"  # written last: a folder that has it is a finished run
SETTINGS_FILE = "settings.json"  # written first
CHECKPOINTS_FOLDER = "checkpoints"
COURSE_MODEL = "07_trainer"  # where notebook 07 leaves its model
QUICK_MODEL = "quick_model"
BYTES_A_PARAMETER = 4 * (1 + 2 * 3)  # the float32 model, and two checkpoints with Adam's two states (old and new, while it is swapped)


def training_arguments(profile: Profile, output_dir: Path, **overrides: object) -> TrainingArguments:
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
        settings |= {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"power": profile.decay_power, "lr_end": lowest}}
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
    if dead := [row for row, labels in enumerate(labels_of_rows) if all(label == IGNORE_INDEX for label in labels)]:
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
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Mapping[str, float], **kwargs: object
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


def prepare_output(out: Path, settings: dict, parameters: int, *, resume: bool = False) -> None:
    """Make the output folder and note the run's settings in it; refuse to touch another run.

    Args:
        out: a new or empty folder; with `resume`, one with an unfinished run of the same settings.
        settings: what makes this run what it is; anything that JSON can hold.
        parameters: of the model, to tell how much room its checkpoints take.
        resume: go on with the run that is there.

    Raises:
        OutputError: the folder holds something else, can't be made, or the disk has too little room.
    """
    noted = out / SETTINGS_FILE
    if out.is_dir() and any(path.name != LOCK_FILE for path in out.iterdir()):
        if not resume:
            raise OutputError(f"{out} is not empty: give --out a new folder, or --resume to go on with the unfinished run in it")
        if (out / METRICS_FILE).exists():
            raise OutputError(f"{out} holds a finished run: nothing to resume; give --out a new folder")
        if _noted_settings(noted) != json.loads(json.dumps(settings)):  # as JSON tells them: a tuple is a list there
            raise OutputError(f"{out} holds no run with these settings: repeat the run's own options, or give --out a new folder")
    make_folder(out)
    needed, free = parameters * BYTES_A_PARAMETER, shutil.disk_usage(out).free
    if free < needed:
        raise OutputError(
            f"no space left for this run: {out} has {free / 1e6:,.0f} MB free, weights and checkpoints take {needed / 1e6:,.0f} MB; "
            f"free some, or give --out a folder on another disk"
        )
    write_json(noted, settings)


def _noted_settings(noted: Path) -> object:
    try:
        return json.loads(noted.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_json(path: Path, content: object) -> None:
    """Write JSON under a temporary name and rename it: the file is whole or not there."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save model and tokenizer into `folder`, beside what is there; written aside first, so that no half model is ever seen."""
    partial = folder / ".model.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    # The configuration goes first and comes last: without it the folder is no model, so old and new files never pass for one.
    (folder / "config.json").unlink(missing_ok=True)
    for file in sorted(partial.iterdir(), key=lambda file: file.name == "config.json"):
        file.replace(folder / file.name)
    partial.rmdir()


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


def course_model(profile: Profile) -> Path:
    """Return a fine-tuned model of this profile: the one that notebook 07 made, else a quick one made on the spot.

    The quick one learns from fewer rows (``profile.quick_rows``), in the fast way and with a small effective batch: seconds instead of
    minutes with the ``tiny`` profile, and a little worse.
    """
    made = profile.folder / COURSE_MODEL
    if (made / "config.json").is_file():
        return made
    folder = profile.folder / QUICK_MODEL
    if not (folder / "config.json").is_file():
        _train_quick_model(profile, folder)
    return folder


def _train_quick_model(profile: Profile, folder: Path) -> None:
    print(f"No model from notebook 07 yet: fine-tuning on {profile.quick_rows:,} rows for this notebook …")
    set_seed(profile.seed)
    tokenizer, model = load_tokenizer(profile.model), load_model(profile.model)
    rows = load_splits(profile.dataset)["train"]
    encoded = encode_dataset(rows.select(range(min(profile.quick_rows, len(rows)))), tokenizer, profile.max_length).dataset
    arguments = training_arguments(
        profile,
        folder / CHECKPOINTS_FOLDER,
        per_device_train_batch_size=profile.quick_batch_size,
        gradient_accumulation_steps=profile.quick_accumulation_steps,
        learning_rate=profile.quick_learning_rate,
        lr_scheduler_type="linear",
        lr_scheduler_kwargs=None,
        bf16=multiplies_bfloat16(),
        save_strategy="no",
        logging_strategy="no",
    )
    build_trainer(model, tokenizer, encoded, arguments, fast=True).train()
    save_model(model, tokenizer, folder)
