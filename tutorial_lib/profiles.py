"""The settings of the course: TinyWorld on any laptop, the same fast, or the article's model and data on a GPU. A profile is data."""

import os
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

from tutorial_lib.errors import ProfileError

PROFILE_VARIABLE = "TUTORIAL_PROFILE"
DEFAULT_PROFILE = "tiny"


@dataclass(frozen=True)
class Profile:
    """Which model, which data, which arguments. The defaults are the article's.

    Attributes:
        name: what ``TUTORIAL_PROFILE`` selects.
        model: a hub id, a local folder, or ``"tinyworld"``.
        dataset: a hub id, a local folder or file, or ``"tinyworld"``.
        learning_rate: of AdamW, at its highest.
        decay_power: it falls as (the share of steps that are left) to the power of this; 1, a straight line, is Trainer's default.
        last_share: what share of it is left at the end.
        max_length: tokens a row is cut at.
        max_new_tokens: the longest answer that is generated.
        quick_rows: how many rows train the stand-in that a notebook makes when 07 has not been run (``training.tuned_model``).
        quick_batch_size: rows a device for that, in each of ``quick_accumulation_steps`` batches of an optimizer step.
        quick_learning_rate: its peak, decayed linearly to 0.
        fast: compute the same in less time, as notebook 12 explains it (``speed``).
        evaluation_rows: how many rows of each split the before/after table asks about.
        demo_statement: the beginning of a statement that the base model can complete.
        demo_question: the same, or something else, as a question; asked before and after.
        open_question: one with more than one good answer.
    """

    name: str
    model: str
    dataset: str
    learning_rate: float
    decay_power: float = 1
    last_share: float = 0
    max_length: int = 256
    per_device_train_batch_size: int = 4
    gradient_accumulation_steps: int = 8
    logging_steps: int = 10
    num_train_epochs: float = 1
    warmup_steps: int = 0
    seed: int = 42
    max_new_tokens: int = 64
    quick_rows: int = 1_600
    quick_batch_size: int = 8
    quick_accumulation_steps: int = 1
    quick_learning_rate: float = 8e-4
    fast: bool = False
    evaluation_rows: int = 1_000
    demo_statement: str = "法国的首都是"
    demo_question: str = "法国的首都是哪里？"
    open_question: str = "Tell me about Japan."

    @property
    def effective_batch_size(self) -> int:
        """Rows an optimizer step, on one device."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps

    @property
    def folder(self) -> Path:
        """Where this profile's runs are kept; another model or data set in place of its own gets a folder of its own."""
        original = PROFILES[self.name]
        if (self.model, self.dataset) == (original.model, original.dataset):
            return runs_dir() / self.name
        return runs_dir() / f"{self.name}-{zlib.crc32(f'{self.model} {self.dataset}'.encode()):08x}"


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(name="tiny", model="tinyworld", dataset="tinyworld", learning_rate=6e-4),
        Profile(
            name="fast",
            model="tinyworld",
            dataset="tinyworld",
            learning_rate=9e-4,
            # Down in the first quarter of the epoch, when questions about facts are learnt; then low and level, for all the rest.
            decay_power=6,
            last_share=0.06,
            per_device_train_batch_size=12,
            gradient_accumulation_steps=1,
            warmup_steps=10,
            fast=True,
        ),
        Profile(
            name="article",
            model="Langboat/bloom-800m-zh",
            dataset="c-s-ale/alpaca-gpt4-data-zh",
            learning_rate=5e-5,
            max_new_tokens=256,
            quick_rows=320,
            quick_batch_size=4,
            quick_accumulation_steps=8,
            quick_learning_rate=5e-5,
            evaluation_rows=100,
            demo_question="怎样写好一份求职简历？",
            open_question="怎样写好一份求职简历？",
        ),
    )
}


def get_profile(name: str | None = None) -> Profile:
    """Return the profile called `name`, or the one that ``TUTORIAL_PROFILE`` names, or ``tiny``.

    ``TUTORIAL_MODEL`` and ``TUTORIAL_DATASET`` put any other hub id or local folder in the place of the profile's own.

    Raises:
        ProfileError: there is no such profile.
    """
    name = name or os.environ.get(PROFILE_VARIABLE) or DEFAULT_PROFILE
    if name not in PROFILES:
        raise ProfileError(
            f"no profile {name!r}: choose one of {', '.join(PROFILES)} (set {PROFILE_VARIABLE} or give --profile)"
        )
    profile = PROFILES[name]
    return replace(
        profile,
        model=os.environ.get("TUTORIAL_MODEL") or profile.model,
        dataset=os.environ.get("TUTORIAL_DATASET") or profile.dataset,
    )


def runs_dir() -> Path:
    """Return the folder for everything that a run makes: ``TUTORIAL_RUNS``, or ``runs`` beside the library, or else here."""
    if chosen := os.environ.get("TUTORIAL_RUNS"):
        return Path(chosen).expanduser().absolute()
    checkout = Path(__file__).parent.parent
    return (checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()) / "runs"
