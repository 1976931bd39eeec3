"""The fine-tuned model that other notebooks ask: notebook 07's, or a quick one made on the spot."""

from pathlib import Path

from transformers import set_seed

from tutorial_lib.data import encode_dataset, load_splits
from tutorial_lib.models import load_model, load_tokenizer, multiplies_bfloat16
from tutorial_lib.profiles import Profile
from tutorial_lib.recipe import build_trainer, training_arguments
from tutorial_lib.run_folder import CHECKPOINTS_FOLDER, save_model

COURSE_MODEL = "07_trainer"  # where notebook 07 leaves its model
QUICK_MODEL = "quick_model"


def tuned_model(profile: Profile) -> Path:
    """Return the folder of a fine-tuned model of this profile.

    It is notebook 07's, or else a quick one: trained on ``profile.quick_rows`` rows, in the fast
    way and with small batches. With ``tiny`` that takes seconds, and the model is a little worse.
    """
    for name in (COURSE_MODEL, QUICK_MODEL):
        if (profile.folder / name / "config.json").is_file():
            return profile.folder / name
    folder = profile.folder / QUICK_MODEL
    print(f"No model from notebook 07 yet: fine-tuning on {profile.quick_rows:,} rows …")
    set_seed(profile.seed)
    tokenizer, model = load_tokenizer(profile.model), load_model(profile.model)
    rows = load_splits(profile.dataset)["train"]
    rows = rows.select(range(min(profile.quick_rows, len(rows))))
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
    encoded = encode_dataset(rows, tokenizer, profile.max_length).dataset
    build_trainer(model, tokenizer, encoded, arguments, fast=True).train()
    save_model(model, tokenizer, folder)
    return folder
