"""Ours against what a learner would use instead, side by side: ``make bench`` (2 cores, an hour).

Each run of a recipe is a process of its own; recipes take turns, seed after seed. The report (a
table, a picture, all figures as JSON, the versions, the processor and the date) is written to
``runs/bench``. The machine must be quiet. ``--seeds 1`` takes a third of the time.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import torch
from datasets import Dataset, concatenate_datasets, disable_progress_bars
from resident import peak_resident
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback, pipeline
from transformers.utils import logging

from tutorial_lib.data import encode_dataset, load_splits
from tutorial_lib.fast import answer_loss, fuse, keep_freed_memory
from tutorial_lib.formatting import IGNORE_INDEX, format_prompt
from tutorial_lib.inference import answer
from tutorial_lib.models import load_model, load_tokenizer
from tutorial_lib.profiles import PROFILES, runs_dir
from tutorial_lib.recipe import build_trainer, training_arguments
from tutorial_lib.run_folder import replacing

RECIPES = (
    "article",
    "TRL, defaults",
    "TRL, tuned",
    "TRL, tuned, grouped by length",
    "plain loop",
    "ours",
)
ENDS = ("article", "ours")
LIMIT = 150  # seconds after which a recipe is stopped
PARTS = ("race", "peak", "answers", "growth")
TITLES = {
    "peak": "Share of the peak of matrix products, in the steady state, rows of 32 tokens",
    "answers": "Held-out questions answered per second, 1,000 of them",
    "growth": "The same rows over and over",
}
BFLOAT16, FLOAT32 = torch.bfloat16, torch.float32
ROWS = PROFILES["fast"].per_device_train_batch_size
GROWTH = (1, 10, 100)  # how often the same rows
GROWING = 20 * ROWS  # rows of the smallest: whole batches
TURN = 4.0  # seconds that a process runs before another has its turn


def race(seeds: Sequence[int], log: Path) -> list[dict]:
    """Each recipe with each seed until it answers; then the article's and ours to their ends.

    `log` gets a line of JSON per run at once, whatever happens afterwards.
    """
    log.unlink(missing_ok=True)
    jobs = [(recipe, seed, False) for seed in seeds for recipe in RECIPES]
    jobs += [(recipe, seed, True) for seed in seeds for recipe in ENDS]
    results = []
    for recipe, seed, to_the_end in jobs:
        stopped = any(run["recipe"] == recipe and run["reached"] is None for run in results)
        if recipe == "TRL, defaults" and stopped:
            continue  # once is enough
        run = {**run_recipe(recipe, seed, to_the_end), "to_the_end": to_the_end}
        results.append(run)
        with log.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(run) + "\n")
        print(f"  {recipe:<30} seed {seed}  {time_of(run)}  {run['shares']}", flush=True)
    return results


def run_recipe(recipe: str, seed: int, to_the_end: bool) -> dict:
    """One run in a process of its own."""
    limit = ["--to-the-end"] if to_the_end else ["--limit", str(LIMIT)]
    script = str(Path(__file__).with_name("recipes.py"))
    command = [sys.executable, script, recipe, "--seed", str(seed), *limit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:  # a killed process writes no error
        raise SystemExit(f"{recipe}: status {done.returncode} {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def time_of(run: Mapping) -> str:
    """Seconds until the recipe answered enough questions, or that it did not."""
    return f"{run['reached']:.1f} s" if run["reached"] else f"not within {run['seconds']:.0f} s"


def peak() -> list[dict[str, object]]:
    """Share of the matmul peak that a training step reaches; the peak is measured after it."""
    os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"  # every start-up is a first one
    results = []
    # The article's recipe comes first: freed memory is kept from the first fast one on.
    for shape, make in {"Bloom": bloom, "Llama": llama}.items():
        for name, rows, dtype, step, compiled in (
            ("as in the article, 4 rows", 4, FLOAT32, plain_step, False),
            (f"fast, {ROWS} rows", ROWS, BFLOAT16, fast_step, False),
            ("fast, 256 rows", 256, BFLOAT16, fast_step, False),
            ("fast, 256 rows, compiled", 256, BFLOAT16, fast_step, True),
        ):
            done, start_up, seconds = steady(make(), rows, dtype, step, compiled)
            top = matmul_peak(dtype)
            row = {"what": f"{shape}, {name}", "billion operations/s": done / seconds / 1e9}
            row |= {"peak measured beside it": top / 1e9, "share (%)": 100 * done / seconds / top}
            results.append({**row, "first five steps (s)": start_up})
            print("  " + ", ".join(readable(results[-1])), flush=True)
    return results


def bloom() -> torch.nn.Module:
    """The shipped base."""
    return load_model("tinyworld").train()


def llama() -> torch.nn.Module:
    """A random Llama of about the same size: what is not Bloom's own."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=256,
        num_hidden_layers=6,
        num_attention_heads=8,
        intermediate_size=688,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).train()


def plain_step(model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The model's own loss."""
    return model(**batch, use_cache=False).loss


def fast_step(model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The fast recipe's loss."""
    with torch.autocast("cpu", dtype=BFLOAT16):
        return answer_loss(model, batch)


def steady(
    model: torch.nn.Module,
    rows: int,
    dtype: torch.dtype,
    loss_of: Callable,
    compiled: bool,
    length: int = 32,
) -> tuple[float, float, float]:
    """Train a few steps on random rows.

    Returns the matmul operations of a whole step, the seconds of the first five steps, and the
    median of the seconds of the steps after.
    """
    if dtype is BFLOAT16:
        fuse(model)
        keep_freed_memory()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    ids = torch.randint(4, 4096, (rows, length), generator=torch.Generator().manual_seed(0))
    labels = ids.clone()
    labels[:, : int(0.64 * length)] = IGNORE_INDEX  # TinyWorld's share of prompt tokens
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}

    def step() -> None:
        loss_of(model, batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    with FlopCounterMode(display=False) as counter:
        step()
    if compiled:
        model.compile()
    start_up = sum(timed(step) for _ in range(5))
    return counter.get_total_flops(), start_up, statistics.median(timed(step) for _ in range(30))


def matmul_peak(dtype: torch.dtype, size: int = 1024) -> float:
    """Operations per second of large square products."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    best = min(timed(lambda: a @ b) for _ in range(60))
    return 2 * size**3 / best


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def encodable(rows: Dataset, tokenizer: object) -> Dataset:
    """The rows that `encode_dataset` keeps, so that a row's number is that of its ids."""
    dead = set(encode_dataset(rows, tokenizer).dead)
    return rows.select([row for row in range(len(rows)) if row not in dead])


def with_ratio(figures: dict[str, float], faster: str, slower: str) -> list[dict[str, float]]:
    """The figures and `faster` / `slower`, as the only row of a table; printed."""
    figures["ratio"] = figures[faster] / figures[slower]
    print_row(figures)
    return [figures]


def print_row(row: Mapping[str, object]) -> None:
    """Names and values on one line."""
    pairs = zip(row, readable(row), strict=True)
    print("  " + ", ".join(f"{name} {value}" for name, value in pairs), flush=True)


def answers() -> list[dict[str, float]]:
    """Answers per second of the tuned model: the article's pipeline, one by one, against ours."""
    tokenizer, model = load_tokenizer("tinyworld"), load_model("tinyworld")
    splits = load_splits("tinyworld")
    tune(model, tokenizer, encode_dataset(splits["train"], tokenizer).dataset)
    rows = [row for row in splits["held_out"] if row["task"] == "relation"][:1_000]
    start = time.perf_counter()
    ours = answer(rows, model, tokenizer, max_new_tokens=32, progress=False)
    seconds = time.perf_counter() - start
    ask = pipeline("text-generation", model=model, tokenizer=tokenizer)
    start = time.perf_counter()
    prompts = [format_prompt(row["instruction"], row["input"]) for row in rows]
    options = {"max_new_tokens": 32, "do_sample": False, "return_full_text": False}
    single = [ask(prompt, **options)[0]["generated_text"] for prompt in prompts]
    figures = {"one by one": len(rows) / (time.perf_counter() - start), "ours": len(rows) / seconds}
    pairs = zip(ours, single, strict=True)
    same = sum(one.text.strip() == text.strip() for one, text in pairs)
    figures["the same (%)"] = 100 * same / len(rows)
    return with_ratio(figures, "ours", "one by one")


class Clock(TrainerCallback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *args: object, **kwargs: object) -> None:
        """Record it."""
        self.ends.append(time.perf_counter())


def tune(
    model: torch.nn.Module, tokenizer: object, encoded: Dataset, **options: object
) -> list[float]:
    """Train with the fast recipe, then set evaluation mode; return when each step ended (s)."""
    quiet = {"save_strategy": "no", "logging_strategy": "no", "report_to": [], "disable_tqdm": True}
    clock = Clock()
    with TemporaryDirectory() as folder:
        arguments = training_arguments(PROFILES["fast"], Path(folder), **quiet, **options)
        build_trainer(model, tokenizer, encoded, arguments, [clock], fast=True).train()
    model.eval()
    return clock.ends


def growth() -> list[dict[str, float]]:
    """Time per row and peak memory for rows × 1, × 10, × 100, in a process each.

    All train on equally many rows in the end. They take turns of some seconds (the others are
    stopped meanwhile): other machines on the same host take memory bandwidth for half a minute at
    a time, which makes steps a quarter slower, and so it slows all of them alike.
    """
    command = [sys.executable, __file__, "--grow"]
    processes = [
        subprocess.Popen([*command, str(copies)], stdout=subprocess.PIPE, text=True)
        for copies in GROWTH
    ]
    try:
        while any(process.poll() is None for process in processes):
            for process in processes:
                for other in processes:
                    other.send_signal(signal.SIGCONT if other is process else signal.SIGSTOP)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(TURN)
    finally:
        for process in processes:
            process.kill()
    results = [json.loads(process.communicate()[0].splitlines()[-1]) for process in processes]
    for result in results:
        print_row(result)
    return results


def grow(copies: int) -> None:
    """In the process of its own: tokenize and train rows of one length, over and over.

    300 steps of warming up come first. (With rows of many lengths, more rows make batches of more
    equal length, and a row cheaper: the figure would flatter.)
    """
    tokenizer, model = load_tokenizer("tinyworld"), load_model("tinyworld")
    rows = encodable(load_splits("tinyworld")["train"], tokenizer)
    lengths = [len(ids) for ids in encode_dataset(rows, tokenizer).dataset["input_ids"]]
    alike = rows.select([row for row, length in enumerate(lengths) if length == 24][:GROWING])
    warm_up = encode_dataset(concatenate_datasets([alike] * 20), tokenizer).dataset
    tune(model, tokenizer, warm_up, max_steps=300)
    rows = concatenate_datasets([alike] * copies)
    rounds = max(GROWTH) // copies
    times = [timed(lambda: encode_dataset(rows, tokenizer)) for _ in range(max(rounds, 5))]
    tokenizing = without_pauses(times)
    encoded = encode_dataset(rows, tokenizer).dataset
    ends = tune(model, tokenizer, encoded, num_train_epochs=rounds)
    training = without_pauses([after - before for before, after in pairwise(ends)])
    figures = {
        "rows": len(rows),
        "training (µs per row)": 1e6 * training / ROWS,
        "tokenizing (µs per row)": 1e6 * tokenizing / len(rows),
        "peak memory (MB)": peak_resident() / 1e6,
    }
    print(json.dumps(figures))


def without_pauses(seconds: Sequence[float]) -> float:
    """The mean, without what was stopped meanwhile for the turn of another process."""
    return statistics.mean(value for value in seconds if value < TURN)


def report(results: Mapping, folder: Path) -> None:
    """Write table, picture and figures."""
    processor = torch.cpu.get_capabilities().get("cpu_name", "processor unknown")
    machine = f"{platform.machine()}, {processor}, {torch.get_num_threads()} threads"
    packages = ("torch", "transformers", "datasets", "trl")
    versions = f"Python {platform.python_version()}, "
    versions += ", ".join(f"{name} {version(name)}" for name in packages)
    lines = [f"# Speed\n\n{time.strftime('%Y-%m-%d')}; {machine}; {versions}\n"]
    if "race" in results:
        lines += race_table(results["race"])
        draw(results["race"], folder / "speed.png")
    for part in PARTS[1:]:
        if part in results:
            lines += [f"\n## {TITLES[part]}\n", *table(results[part])]
    with replacing(folder / "speed.json") as partial:
        partial.write_text(json.dumps(results, indent=1), encoding="utf-8")
    with replacing(folder / "speed.md") as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def readable(row: Mapping[str, object]) -> list[str]:
    """The values of a row as texts."""
    formats = {float: ",.1f", int: ","}
    return [format(value, formats.get(type(value), "")) for value in row.values()]


def table(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Rows of one kind as lines of Markdown."""
    return [
        " | ".join(["", *cells, ""]).strip()
        for cells in (list(rows[0]), ["---"] * len(rows[0]), *map(readable, rows))
    ]


def race_table(runs: Sequence[Mapping]) -> list[str]:
    """A line per recipe: medians over the seeds, and the span of the time."""
    heads = ["recipe", "time to 90 %", "against ours", "supervised tokens/s", "padding"]
    heads += ["peak memory", "start-up"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    ours = median_time(runs, "ours")
    for recipe in RECIPES:
        own = [run for run in runs if run["recipe"] == recipe and not run["to_the_end"]]
        times = [run["reached"] for run in own]
        ratio = f"{median_time(runs, recipe) / ours:.1f} ×"
        if None in times:
            seconds, ratio = time_of(own[times.index(None)]), f"> {ratio}"
        else:
            seconds = f"{statistics.median(times):.1f} s ({min(times):.1f} to {max(times):.1f})"
        tokens, padding, memory, start_up = (
            statistics.median(run[name] for run in own)
            for name in ("supervised_tokens_per_second", "padding", "peak_bytes", "start_up")
        )
        cells = [recipe, seconds, ratio, f"{tokens:,.0f}", f"{padding:.1%}"]
        cells += [f"{memory / 1e6:,.0f} MB", f"{start_up:.1f} s"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "| to its end | seconds | held-out questions about facts | held-out rows of all tasks |",
        "|---|---|---|---|",
    ]
    for recipe in ENDS:
        own = [run for run in runs if run["recipe"] == recipe and run["to_the_end"]]
        seconds = statistics.median(run["seconds"] for run in own)
        facts = statistics.median(statistics.mean(run["shares"].values()) for run in own)
        everything = statistics.median(run["all_tasks"] for run in own)
        lines.append(f"| {recipe} | {seconds:.0f} s | {facts:.1%} | {everything:.1%} |")
    return lines


def median_time(runs: Sequence[Mapping], recipe: str) -> float:
    """Seconds to 90 %; where it was not reached, at least what was spent."""
    return statistics.median(
        run["reached"] or run["seconds"]
        for run in runs
        if run["recipe"] == recipe and not run["to_the_end"]
    )


def draw(runs: Sequence[Mapping], path: Path) -> None:
    """A bar per recipe, a mark per seed."""
    figure, axes = plt.subplots(figsize=(9, 3.5), layout="constrained")
    names = list(reversed(RECIPES))
    seconds = {name: median_time(runs, name) for name in names}
    colors = ["#E69F00" if name == "ours" else "#0072B2" for name in names]
    axes.barh(names, list(seconds.values()), color=colors)
    for run in runs:
        if not run["to_the_end"]:
            x = run["reached"] or run["seconds"]
            axes.plot(x, run["recipe"], "|", color="black", markersize=14)
    axes.set_xlabel(
        "seconds until 90 % of held-out questions in each language are answered exactly\n"
        "(evaluation time excluded; a mark per seed)"
    )
    others = [seconds[name] / seconds["ours"] for name in names if name != "ours"]
    axes.set_title(f"The fast recipe is there {min(others):.1f} to {max(others):.1f} times sooner")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    parser.add_argument("--grow", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    disable_progress_bars()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    if options.grow:
        grow(options.grow)
        return
    folder = runs_dir() / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    work = {
        "race": lambda: race(range(1, options.seeds + 1), folder / "race.jsonl"),
        "peak": peak,
        "answers": answers,
        "growth": growth,
    }
    results = {}
    for part in options.only:
        print(part, flush=True)
        results[part] = work[part]()
        report(results, folder)
    print((folder / "speed.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
