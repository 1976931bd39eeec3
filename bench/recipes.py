"""One run of one recipe until it answers 90 % of held-out questions in both languages.

``python bench/recipes.py RECIPE --seed N`` prints its figures as a line of JSON; ``speed.py`` runs
all recipes, in turn. All start from the shipped base and the same rows, already loaded, and are
asked the same questions after every 240 rows. The clock runs from there on, tokenizing included,
asking excluded. Each has TinyWorld's learning rate, since no default was chosen for so small a
model; what else is "tuned" is in RECIPES.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

BORN = time.perf_counter()  # before the imports that take most of a start

import torch  # noqa: E402
from datasets import Dataset, disable_progress_bars  # noqa: E402
from resident import peak_resident  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402
from transformers import (  # noqa: E402
    DataCollatorForSeq2Seq,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.utils import logging  # noqa: E402

from tutorial_lib.data import encode_dataset, load_splits  # noqa: E402
from tutorial_lib.evaluation import exact_match  # noqa: E402
from tutorial_lib.formatting import IGNORE_INDEX, encode_example, format_prompt  # noqa: E402
from tutorial_lib.inference import answer  # noqa: E402
from tutorial_lib.models import load_model, load_tokenizer  # noqa: E402
from tutorial_lib.profiles import PROFILES  # noqa: E402
from tutorial_lib.recipe import build_trainer, training_arguments  # noqa: E402

ENOUGH = 0.9  # of the questions of each language
QUESTIONS = 300
ROWS_BETWEEN = 240
LEARNING_RATE = PROFILES["tiny"].learning_rate
QUIET = {
    "save_strategy": "no",
    "logging_strategy": "no",
    "report_to": [],
    "disable_tqdm": True,
    "use_cpu": True,
    "dataloader_pin_memory": False,
}


class Watch:
    """Stops the clock to ask, counts what the model computes, and decides when it is enough."""

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: object,
        questions: Sequence[Mapping],
        limit: float,
        to_the_end: bool,
    ) -> None:
        self.model, self.tokenizer, self.questions = model, tokenizer, questions
        self.limit, self.to_the_end = limit, to_the_end
        self.begin, self.asking = time.perf_counter(), 0.0
        self.start_up = self.reached = None
        self.positions = self.padding = self.supervised = self.rows = self.asked_at = 0
        self.shares: dict[str, float] = {}

    @property
    def seconds(self) -> float:
        """Since the beginning, without the time for asking."""
        return time.perf_counter() - self.begin - self.asking

    def count(self, batch: Mapping[str, torch.Tensor]) -> None:
        """Count one batch, as the model will get it."""
        labels = batch["labels"]
        self.positions += labels.numel()
        self.padding += int((batch["attention_mask"] == 0).sum())
        self.supervised += int((labels[:, 1:] != IGNORE_INDEX).sum())
        self.rows += len(labels)

    def step(self) -> bool:
        """After an optimizer step: ask if it is time to ask; return whether to go on."""
        if self.start_up is None:
            self.start_up = time.perf_counter() - BORN
        if self.to_the_end:
            return True
        if self.rows - self.asked_at >= ROWS_BETWEEN:
            self.asked_at = self.rows
            self.ask()
        return self.reached is None and self.seconds < self.limit

    def ask(self) -> None:
        """Ask all questions with the clock stopped."""
        now, start = self.seconds, time.perf_counter()
        answers = answer(
            self.questions, self.model, self.tokenizer, max_new_tokens=24, progress=False
        )
        scores = exact_match(self.questions, answers, by=("language",))
        self.shares = {language: score.share for (language,), score in scores.items()}
        if self.reached is None and min(self.shares.values()) >= ENOUGH:
            self.reached = now
        self.asking += time.perf_counter() - start


class Watching(TrainerCallback):
    """A Watch for trainers."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """Stop when it is enough."""
        if not self.watch.step():
            control.should_training_stop = True


class Counting:
    """A collator that lets a Watch count its batches."""

    def __init__(self, collator: Callable, watch: Watch) -> None:
        self.collator, self.watch = collator, watch

    def __call__(self, rows: Sequence[Mapping]) -> Mapping[str, torch.Tensor]:
        """Collate and count."""
        batch = self.collator(rows)
        self.watch.count(batch)
        return batch


def one_row_map(rows: Dataset, tokenizer: object) -> Dataset:
    """The article's preprocessing, row by row; rows without a supervised token are left out."""
    encoded = rows.map(
        partial(article_row, tokenizer=tokenizer),
        remove_columns=rows.column_names,
        load_from_cache_file=False,
    )
    return encoded.filter(
        lambda row: any(label != IGNORE_INDEX for label in row["labels"]),
        load_from_cache_file=False,
    )


def article_row(
    row: Mapping[str, str], tokenizer: object, max_length: int = 256
) -> dict[str, list]:
    """What the article does with a row, no check of anything."""
    prompt = tokenizer(format_prompt(row["instruction"], row["input"]), add_special_tokens=False)
    response = tokenizer(row["output"] + tokenizer.eos_token, add_special_tokens=False)
    encoded = {name: prompt[name] + response[name] for name in ("input_ids", "attention_mask")}
    encoded["labels"] = [IGNORE_INDEX] * len(prompt["input_ids"]) + response["input_ids"]
    return {name: values[:max_length] for name, values in encoded.items()}


def article(rows: Dataset, tokenizer: object, watch: Watch, seed: int) -> None:
    """(a) The article as written."""
    encoded = one_row_map(rows, tokenizer)
    arguments = TrainingArguments(
        tempfile.mkdtemp(),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=8,
        learning_rate=LEARNING_RATE,
        num_train_epochs=1,
        seed=seed,
        **QUIET,
    )
    collator = Counting(DataCollatorForSeq2Seq(tokenizer=tokenizer, padding=True), watch)
    Trainer(
        watch.model,
        arguments,
        collator,
        encoded,
        processing_class=tokenizer,
        callbacks=[Watching(watch)],
    ).train()


def trl(rows: Dataset, tokenizer: object, watch: Watch, seed: int, **options: object) -> None:
    """(b) TRL's SFTTrainer on the article's ids.

    With its own, a prompt would end with another token than generation starts from.
    """
    from trl import SFTConfig, SFTTrainer

    def ids_and_mask(row: Mapping) -> dict[str, list]:
        encoded = encode_example(row, tokenizer, 10_000)
        return {
            "input_ids": encoded["input_ids"],
            "completion_mask": [int(label != IGNORE_INDEX) for label in encoded["labels"]],
        }

    prepared = rows.map(ids_and_mask, remove_columns=rows.column_names, load_from_cache_file=False)
    arguments = SFTConfig(
        tempfile.mkdtemp(), seed=seed, **{"learning_rate": LEARNING_RATE, **options}, **QUIET
    )
    trainer = SFTTrainer(
        watch.model,
        args=arguments,
        train_dataset=prepared,
        processing_class=tokenizer,
        callbacks=[Watching(watch)],
    )
    trainer.data_collator = Counting(trainer.data_collator, watch)
    trainer.train()


def plain_loop(rows: Dataset, tokenizer: object, watch: Watch, seed: int) -> None:
    """(c) A plain loop as in chapter 7 of "Build a Large Language Model (From Scratch)".

    Batches of 8, AdamW, padding to the longest.
    """
    encoded = [
        encode_example(row, tokenizer, 256)
        for row in rows
        if len(tokenizer(row["instruction"] + row["input"])["input_ids"]) < 240
    ]
    random.Random(seed).shuffle(encoded)
    collator = Counting(DataCollatorForSeq2Seq(tokenizer=tokenizer, padding=True), watch)
    optimizer = torch.optim.AdamW(watch.model.parameters(), lr=LEARNING_RATE, weight_decay=0.1)
    watch.model.train()
    for start in range(0, len(encoded), 8):
        batch = collator(encoded[start : start + 8])
        optimizer.zero_grad()
        logits = watch.model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).logits
        cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten()).backward()
        optimizer.step()
        if not watch.step():
            return


def ours(rows: Dataset, tokenizer: object, watch: Watch, seed: int) -> None:
    """(d) The profile ``fast``."""
    profile = PROFILES["fast"]
    encoded = encode_dataset(rows, tokenizer, profile.max_length).dataset
    arguments = training_arguments(profile, Path(tempfile.mkdtemp()), **{**QUIET, "seed": seed})
    trainer = build_trainer(
        watch.model, tokenizer, encoded, arguments, [Watching(watch)], fast=True
    )
    trainer.data_collator = Counting(trainer.data_collator, watch)
    trainer.train()


# What TRL advises on speed and memory and is right here: its packing and padding-free batches need
# FlashAttention; in Bloom, rows would read each other. Length grouping is transformers' own; if
# you know it, you get the second tuned one.
TUNED = {
    "bf16": True,
    "gradient_checkpointing": False,
    "completion_only_loss": True,
    "max_length": 256,
    "num_train_epochs": 1,
}
RECIPES: Mapping[str, Callable] = {
    "article": article,
    "TRL, defaults": partial(trl, learning_rate=2e-5),
    "TRL, tuned": partial(trl, **TUNED),
    "TRL, tuned, grouped by length": partial(
        trl, **TUNED, train_sampling_strategy="group_by_length"
    ),
    "plain loop": plain_loop,
    "ours": ours,
}


def choose_questions(held_out: Dataset) -> list[dict]:
    """The same for all recipes and seeds: half of them in each language."""
    questions = [row for row in held_out if row["task"] == "relation"]
    return [
        row
        for language in ("zh", "en")
        for row in [row for row in questions if row["language"] == language][: QUESTIONS // 2]
    ]


def main() -> None:
    """Run one recipe and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--limit", type=float, default=300, help="seconds after which it stops")
    parser.add_argument(
        "--to-the-end",
        action="store_true",
        help="do not ask on the way, but at the end, about all tasks too",
    )
    options = parser.parse_args()
    disable_progress_bars()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    tokenizer, model = load_tokenizer("tinyworld"), load_model("tinyworld")
    splits = load_splits("tinyworld")
    rows = splits["train"].select_columns(["instruction", "input", "output"])
    set_seed(options.seed)
    watch = Watch(
        model, tokenizer, choose_questions(splits["held_out"]), options.limit, options.to_the_end
    )
    RECIPES[options.recipe](rows, tokenizer, watch, options.seed)
    seconds = watch.seconds
    all_tasks = None
    if options.to_the_end:
        watch.ask()
        all_tasks = share_of_all_tasks(splits["held_out"], model, tokenizer)
    run = {"all_tasks": all_tasks, "recipe": options.recipe, "seed": options.seed}
    print(json.dumps({**figures(watch, seconds), **run}))


def share_of_all_tasks(held_out: Dataset, model: torch.nn.Module, tokenizer: object) -> float:
    """Exact match (0 to 1) on 1,000 held-out rows of every kind, not only about facts."""
    rows = held_out.shuffle(seed=0).select(range(1_000)).to_list()
    return exact_match(rows, answer(rows, model, tokenizer, progress=False), by=())[()].share


def figures(watch: Watch, seconds: float) -> dict[str, object]:
    """What a run reports."""
    return {
        "reached": watch.reached,
        "seconds": seconds,
        "shares": watch.shares,
        "rows": watch.rows,
        "supervised_tokens_per_second": watch.supervised / seconds,
        "padding": watch.padding / watch.positions,
        "start_up": watch.start_up,
        "peak_bytes": peak_resident(),
    }


if __name__ == "__main__":
    main()
