"""The article's size for real, on a machine without a GPU.

``make bench-article`` writes the stand-in once, tokenizes its 26,858 rows in three ways, streams
1,000,000 rows, and takes 3 real optimizer steps of ``tutorial_lib.train --profile article`` while
it watches the memory. It needs 24 GB of memory, 15 GB of disk and half an hour.
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
import resident
import torch
from datasets import disable_progress_bars, load_dataset
from stand_in import MODEL_FOLDER, ROWS_FILE, write_stand_in
from transformers import AutoConfig, Trainer, TrainerCallback

import tutorial_lib.recipe
import tutorial_lib.train
from tutorial_lib.data import load_instructions
from tutorial_lib.formatting import encode_example
from tutorial_lib.models import load_tokenizer
from tutorial_lib.profiles import runs_dir
from tutorial_lib.run_folder import METRICS_FILE
from tutorial_lib.scaling.step_memory import GIB, Step, estimate_training_memory

STEPS = 3
STREAMED = 1_000_000
PARTS = ("tokenize", "stream", "train")


def tokenize(stand_in: Path) -> None:
    """Rows per second of the article's map, row by row, of a batched one, and of two processes."""
    tokenizer = load_tokenizer(stand_in / MODEL_FOLDER)
    rows = load_instructions(stand_in / ROWS_FILE)

    def encode_row(row: dict) -> dict:
        return encode_example(row, tokenizer)

    def encode_batch(rows: dict) -> dict:
        # The article's function on a thousand rows: one call of the tokenizer for all prompts,
        # one for all responses.
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
        "one row at a time (the article's)": {"function": encode_row},
        "batched": {"function": encode_batch, "batched": True},
        "one row at a time, 2 processes": {"function": encode_row, "num_proc": 2},
    }
    results = {}
    for name, options in ways.items():
        start = time.perf_counter()
        results[name] = rows.map(
            **options, remove_columns=rows.column_names, load_from_cache_file=False
        )
        speed = len(rows) / (time.perf_counter() - start)
        print(f"{name:<36} {speed:>8,.0f} rows per second", flush=True)
    expected, *others = (encoded.to_dict() for encoded in results.values())
    print("all the same rows:", all(encoded == expected for encoded in others))


def stream(stand_in: Path) -> None:
    """Resident memory while a million rows, the stand-in's over and over, are streamed."""
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
                mebibytes = psutil.Process().memory_info().rss / 2**20
                memory = f"{mebibytes:,.0f} MiB resident"
                print(f"{number:>9,} rows, {memory}, {speed:,.0f} per second", flush=True)


class Weigh(TrainerCallback):
    """Records what parameters, gradients and optimizer states take in each step (bytes)."""

    def __init__(self) -> None:
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
        peak = f"peak {resident.peak_resident() / GIB:.2f} GiB resident"
        swap = f"swap {psutil.swap_memory().used}"
        print(f"after {state.global_step + 1} steps: {peak}, {swap}", flush=True)


def train(stand_in: Path) -> None:
    """Three steps of 4 × 8 rows with the article's arguments; runs in a process of its own."""
    if "MALLOC_ARENA_MAX" not in os.environ:  # the allocator reads it when a process starts
        environment = {**os.environ, **resident.GIVE_MEMORY_BACK}
        subprocess.run([sys.executable, *sys.argv, "--only", "train"], env=environment, check=True)
        return
    weigh, build = Weigh(), tutorial_lib.recipe.build_trainer

    def build_weighed(*arguments: object, **options: object) -> Trainer:
        trainer = build(*arguments, **options)
        trainer.add_callback(weigh)
        return trainer

    before = resident.peak_resident()
    tutorial_lib.recipe.build_trainer = build_weighed
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=stand_in.parent) as folder:
        model, rows = str(stand_in / MODEL_FOLDER), str(stand_in / ROWS_FILE)
        line = ["--profile", "article", "--model", model, "--dataset", rows]
        line += ["--out", f"{folder}/out", "--max-steps", str(STEPS), "--logging-steps", "1"]
        line += ["--evaluation-rows", "1", "--max-new-tokens", "4", "--limit-rows", "2000"]
        tutorial_lib.train.main(line)
        metrics = json.loads(Path(folder, "out", METRICS_FILE).read_text(encoding="utf-8"))
    measured = resident.peak_resident() - before
    step = Step(4, 256, accumulation=8)
    estimated = estimate_training_memory(AutoConfig.from_pretrained(model), step)
    seconds, total = metrics["train_seconds"], time.perf_counter() - start
    print(f"{STEPS} steps of 4 × 8 rows in {seconds:.0f} s", end=" ")
    print(f"({total:.0f} s with loading and saving), losses {metrics['losses']}")
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
    folder = runs_dir() / "stand_in"
    parser.add_argument("--stand-in", type=Path, default=folder, help="written if it is not there")
    options = parser.parse_args()
    if not (options.stand_in / MODEL_FOLDER / "model.safetensors").is_file():
        write_stand_in(options.stand_in)
    disable_progress_bars()
    machine = f"{psutil.cpu_count()} cores, {psutil.virtual_memory().total / GIB:.0f} GiB"
    print(f"{time.strftime('%Y-%m-%d')}, {machine}, torch {torch.__version__}")
    for name, part in zip(PARTS, (tokenize, stream, train), strict=True):
        if options.only in (None, name):
            print(f"\n--- {name}", flush=True)
            part(options.stand_in)


if __name__ == "__main__":
    main()
