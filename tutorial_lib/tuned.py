"""The fine-tuned model that other notebooks ask: notebook 07's, or one that is quickly made on the spot."""

from pathlib import Path

from transformers import set_seed

from tutorial_lib.data import encode_dataset, load_splits
from tutorial_lib.fast import multiplies_bfloat16
from tutorial_lib.models import load_model, load_tokenizer
from tutorial_lib.profiles import Profile
from tutorial_lib.recipe import build_trainer, training_arguments
from tutorial_lib.run_folder import CHECKPOINTS_FOLDER, save_model

COURSE_MODEL = "07_trainer"  # where notebook 07 leaves its model
QUICK_MODEL = "quick_model"


def tuned_model(profile: Profile) -> Path:
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
    print(
        f"No model from notebook 07 yet: fine-tuning on {profile.quick_rows:,} rows for this notebook …"
    )
    set_seed(profile.seed)
    tokenizer, model = load_tokenizer(profile.model), load_model(profile.model)
    rows = load_splits(profile.dataset)["train"]
    encoded = encode_dataset(
        rows.select(range(min(profile.quick_rows, len(rows)))), tokenizer, profile.max_length
    ).dataset
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
