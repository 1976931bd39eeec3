"""The article's size for real, on a machine without a GPU: 24 GB of memory, 4 GB of disk (15 with --save) and half an hour are needed.

``make bench-article``: the stand-in is made once, its 26,858 rows are tokenized in three ways, 1,000,000 rows are streamed, and
``tutorial_lib.train --profile article`` takes 3 real optimizer steps while its memory is watched.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import chain, repeat
from pathlib import Path

import psutil
import torch
from datasets import disable_progress_bars, load_dataset
from transformers import AutoConfig, Trainer, TrainerCallback

import tutorial_lib.train
from tutorial_lib.data import load_instructions
from tutorial_lib.formatting import encode_example
from tutorial_lib.memory import GIB, Step, estimate_training_memory, peak_resident
from tutorial_lib.models import load_tokenizer
from tutorial_lib.profiles import runs_dir
from tutorial_lib.scaling.article_size import MODEL_FOLDER, ROWS_FILE, make

ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_ARENA_MAX": "1",
    "MKL_DISABLE_FAST_MM": "1",
}
STEPS = 3
STREAMED = 1_000_000
PARTS = ("tokenize", "stream", "train")


def tokenize(stand_in: Path) -> None:
    """Rows a second of the article's map, row by row, of a batched one, and of two processes."""
    tokenizer = load_tokenizer(stand_in / MODEL_FOLDER)
    rows = load_instructions(stand_in / ROWS_FILE)

    def one(row: dict) -> dict:
        return encode_example(row, tokenizer)

    def many(rows: dict) -> dict:
        # The article's function on a thousand rows: prompts and responses in one call of the tokenizer each.
        columns = list(zip(rows["instruction"], rows["input"], rows["output"], strict=True))
        prompts = tokenizer(
            [f"Human: {i}\n{x}".strip() + "\n\nAssistant: " for i, x, _ in columns],
            add_special_tokens=False,
        )["input_ids"]
        answers = tokenizer(
            [o + tokenizer.eos_token for _, _, o in columns], add_special_tokens=False
        )["input_ids"]
        pairs = list(zip(prompts, answers, strict=True))
        return {
            "input_ids": [(p + a)[:256] for p, a in pairs],
            "attention_mask": [([1] * len(p + a))[:256] for p, a in pairs],
            "labels": [([-100] * len(p) + a)[:256] for p, a in pairs],
        }

    ways = {
        "one row at a time (the article's)": lambda: rows.map(
            one, remove_columns=rows.column_names, load_from_cache_file=False
        ),
        "batched": lambda: rows.map(
            many, batched=True, remove_columns=rows.column_names, load_from_cache_file=False
        ),
        "one row at a time, 2 processes": lambda: rows.map(
            one, num_proc=2, remove_columns=rows.column_names, load_from_cache_file=False
        ),
    }
    results = {}
    for name, run in ways.items():
        start = time.perf_counter()
        results[name] = run()
        print(
            f"{name:<36} {len(rows) / (time.perf_counter() - start):>8,.0f} rows a second",
            flush=True,
        )
    expected, *others = (made.to_dict() for made in results.values())
    print("all the same rows:", all(made == expected for made in others))


def stream(stand_in: Path) -> None:
    """Resident memory while a million rows of the stand-in, over and over, are read and tokenized as a stream."""
    tokenizer = load_tokenizer(stand_in / MODEL_FOLDER)
    text = (stand_in / ROWS_FILE).read_text(encoding="utf-8").splitlines(keepends=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "million.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for number, line in zip(
                range(STREAMED), chain.from_iterable(repeat(text)), strict=False
            ):
                file.write(line if number < STREAMED else "")
        del text
        rows = load_dataset("json", data_files=str(path), split="train", streaming=True)
        encoded = rows.map(
            lambda row: encode_example(row, tokenizer), remove_columns=rows.column_names
        )
        start = time.perf_counter()
        for number, _ in enumerate(encoded, 1):
            if number % 100_000 == 0:
                speed = number / (time.perf_counter() - start)
                resident = psutil.Process().memory_info().rss
                print(
                    f"{number:>9,} rows, {resident / 2**20:,.0f} MiB resident, {speed:,.0f} a second",
                    flush=True,
                )


class Weigh(TrainerCallback):
    """Notes what parameters, gradients and optimizer states take, when each step's gradients are there and when it has ended."""

    def __init__(self) -> None:
        """Start empty."""
        self.parts: dict[str, int] = {}

    def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
        """All gradients are there."""
        self.parts["parameters"] = sum(p.numel() * p.element_size() for p in model.parameters())
        self.parts["gradients"] = sum(
            p.grad.numel() * p.grad.element_size() for p in model.parameters() if p.grad is not None
        )

    def on_optimizer_step(self, args, state, control, optimizer, **kwargs):
        """All states are there."""
        states = (
            t for s in optimizer.state.values() for t in s.values() if isinstance(t, torch.Tensor)
        )
        self.parts["optimizer states"] = sum(t.numel() * t.element_size() for t in states)
        print(
            f"after {state.global_step + 1} steps: peak {peak_resident() / GIB:.2f} GiB resident, swap {psutil.swap_memory().used}",
            flush=True,
        )


def train(stand_in: Path) -> None:
    """Three steps of 4 × 8 rows with the article's arguments; runs in a process of its own."""
    if "MALLOC_ARENA_MAX" not in os.environ:  # the allocator reads it when a process starts
        subprocess.run(
            [sys.executable, *sys.argv, "--only", "train"],
            env={**os.environ, **ALLOCATOR},
            check=True,
        )
        return
    weigh, build = Weigh(), tutorial_lib.train.build_trainer

    def build_weighed(*arguments: object, **options: object) -> Trainer:
        trainer = build(*arguments, **options)
        trainer.add_callback(weigh)
        return trainer

    before = peak_resident()
    tutorial_lib.train.build_trainer = build_weighed
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=stand_in.parent) as folder:
        model, rows = str(stand_in / MODEL_FOLDER), str(stand_in / ROWS_FILE)
        few = [
            "--max-steps",
            str(STEPS),
            "--logging-steps",
            "1",
            "--evaluation-rows",
            "1",
            "--max-new-tokens",
            "4",
            "--limit-rows",
            "2000",
        ]
        tutorial_lib.train.main(
            [
                "--profile",
                "article",
                "--model",
                model,
                "--dataset",
                rows,
                "--out",
                f"{folder}/out",
                *few,
            ]
        )
        figures = json.loads(Path(folder, "out", "metrics.json").read_text(encoding="utf-8"))
    measured = peak_resident() - before
    estimated = estimate_training_memory(
        AutoConfig.from_pretrained(model), Step(4, 256, accumulation=8)
    )
    print(f"{STEPS} steps of 4 × 8 rows in {figures['train_seconds']:.0f} s ({time.perf_counter() - start:.0f} s with loading and saving), "
          f"losses {figures['losses']}")  # fmt: skip
    rest = estimated["peak"] - sum(estimated[part] for part in weigh.parts)
    figures = {part: (size, estimated[part]) for part, size in weigh.parts.items()}
    figures["all else"] = (measured - sum(weigh.parts.values()), rest)
    figures["peak"] = (measured, estimated["peak"])
    for name, (real, expected) in figures.items():
        print(f"{name:<24} measured {real / GIB:6.2f}   estimated {expected / GIB:6.2f} GiB")
    print(f"the estimate is {estimated['peak'] / measured - 1:+.1%} off")


def main() -> None:
    """Run all parts, or one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=PARTS, help="one part of it")
    parser.add_argument(
        "--stand-in",
        type=Path,
        default=runs_dir() / "stand_in",
        help="where the stand-in is, or is to be made",
    )
    options = parser.parse_args()
    if not (options.stand_in / MODEL_FOLDER / "model.safetensors").is_file():
        make(options.stand_in)
    disable_progress_bars()
    print(
        f"{time.strftime('%Y-%m-%d')}, {psutil.cpu_count()} cores, {psutil.virtual_memory().total / GIB:.0f} GiB, torch {torch.__version__}"
    )
    for name, part in zip(PARTS, (tokenize, stream, train), strict=True):
        if options.only in (None, name):
            print(f"\n--- {name}", flush=True)
            part(options.stand_in)


if __name__ == "__main__":
    main()
