"""The settings of the course: TinyWorld on any laptop, the same fast, or the article's own."""

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tutorial_lib.errors import ProfileError

PROFILE_VARIABLE = "TUTORIAL_PROFILE"
DEFAULT_PROFILE = "tiny"
TINYWORLD = "tinyworld"  # names the model and the data set that ship with the kit


@dataclass(frozen=True)
class Profile:
    """Which model, which data, which arguments. The defaults are the article's.

    Attributes:
        name: what ``TUTORIAL_PROFILE`` selects.
        model: a hub id, a local folder, or ``"tinyworld"``.
        dataset: a hub id, a local folder or file, or ``"tinyworld"``.
        learning_rate: the peak.
        decay_power: polynomial decay, ``end + (peak - end) * steps_left_share ** decay_power``;
            1 is Trainer's straight line.
        last_share: ``end`` as a share of the peak.
        max_length: tokens at which an example is cut.
        max_new_tokens: the longest answer that is generated.
        quick_rows: rows that train the model of a notebook that runs without 07's
            (``tuned.tuned_model``), with the batch, accumulation and peak rate that follow.
        fast: train with the parts of ``fast``, which notebook 12 explains.
        evaluation_rows: rows of each split that the before/after table asks.
        demo_statement: the beginning of a statement that the base model can complete.
        demo_question: a question that is asked before and after.
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
    def schedule(self) -> Mapping[str, object]:
        """How the learning rate falls, in ``TrainingArguments``' own names."""
        if (self.decay_power, self.last_share) == (1, 0):
            return {"lr_scheduler_type": "linear"}
        end = self.last_share * self.learning_rate
        kwargs = {"power": self.decay_power, "lr_end": end}
        return {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": kwargs}

    @property
    def effective_batch_size(self) -> int:
        """Rows per optimizer step, on one device."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps

    @property
    def folder(self) -> Path:
        """Where this profile's runs are kept; another model or data set has its own folder."""
        original = PROFILES[self.name]
        if (self.model, self.dataset) == (original.model, original.dataset):
            return runs_dir() / self.name
        digest = zlib.crc32(f"{self.model} {self.dataset}".encode())
        return runs_dir() / f"{self.name}-{digest:08x}"


_TINY = Profile("tiny", TINYWORLD, TINYWORLD, learning_rate=6e-4)
_FAST = replace(
    _TINY,
    name="fast",
    learning_rate=9e-4,
    # The rate falls in the first quarter of the epoch, when questions about facts are learnt;
    # then it stays low for everything else.
    decay_power=6,
    last_share=0.06,
    per_device_train_batch_size=12,
    gradient_accumulation_steps=1,
    warmup_steps=10,
    fast=True,
)
_ARTICLE = Profile(
    "article",
    "Langboat/bloom-800m-zh",
    "c-s-ale/alpaca-gpt4-data-zh",
    learning_rate=5e-5,
    max_new_tokens=256,
    quick_rows=320,
    quick_batch_size=4,
    quick_accumulation_steps=8,
    quick_learning_rate=5e-5,
    evaluation_rows=100,
    demo_question="怎样写好一份求职简历？",
    open_question="怎样写好一份求职简历？",
)
PROFILES = {profile.name: profile for profile in (_TINY, _FAST, _ARTICLE)}


def get_profile(name: str | None = None) -> Profile:
    """Return the profile called `name`, or the one that ``TUTORIAL_PROFILE`` names, or ``tiny``.

    ``TUTORIAL_MODEL`` and ``TUTORIAL_DATASET`` replace the profile's model and data set.

    Raises:
        ProfileError: there is no such profile.
    """
    name = name or os.environ.get(PROFILE_VARIABLE) or DEFAULT_PROFILE
    if name not in PROFILES:
        remedy = f"choose one of {', '.join(PROFILES)} (set {PROFILE_VARIABLE} or give --profile)"
        raise ProfileError(f"no profile {name!r}: {remedy}")
    profile = PROFILES[name]
    model = os.environ.get("TUTORIAL_MODEL") or profile.model
    dataset = os.environ.get("TUTORIAL_DATASET") or profile.dataset
    return replace(profile, model=model, dataset=dataset)


def runs_dir() -> Path:
    """Return the folder for what runs write: TUTORIAL_RUNS, or ``runs`` in the checkout or here."""
    if chosen := os.environ.get("TUTORIAL_RUNS"):
        return Path(chosen).expanduser().absolute()
    checkout = Path(__file__).parent.parent
    return (checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()) / "runs"
