"""Ours against what a learner would use instead, side by side in one run: ``make bench`` (2 cores, an hour, a quiet machine).

Each run of a recipe is a process of its own; recipes take turns, seed after seed. The report (a table, a picture, all figures as JSON, the
versions, the processor and the date) is written to ``runs/bench``. ``--seeds 1`` takes a third of the time.
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
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import torch
from datasets import Dataset, concatenate_datasets, disable_progress_bars
from recipes import article_row
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback, pipeline
from transformers.utils import logging

from tutorial_lib.data import encode_dataset, load_splits
from tutorial_lib.fast import answer_loss, fuse, keep_freed_memory
from tutorial_lib.formatting import IGNORE_INDEX, format_prompt
from tutorial_lib.inference import answer
from tutorial_lib.memory import peak_resident
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
LIMIT = 150  # seconds; a recipe that has not got there by then is given up
PARTS = ("race", "peak", "tokenizing", "answers", "growth", "commands")
TITLES = {
    "peak": "Share of the peak of matrix products, in the steady state, rows of 32 tokens",
    "tokenizing": "Rows tokenized a second, with the same result",
    "answers": "Held-out questions answered a second, 1,000 of them",
    "growth": "The same rows over and over",
    "commands": "Seconds that a command takes to begin and to end, and the same imports without it (the least of five)",
}
BFLOAT16, FLOAT32 = torch.bfloat16, torch.float32
ROWS = PROFILES["fast"].per_device_train_batch_size
GROWTH = (1, 10, 100)  # how often the same rows
GROWING = 20 * ROWS  # rows of the smallest: whole batches
TURN = 4.0  # seconds that a process runs before another has its turn


def race(seeds: Sequence[int], kept: Path) -> list[dict]:
    """Each recipe with each seed until it answers; then the article's and ours to their ends, for the quality that they reach.

    What has been measured stands in `kept`, a line a run, whatever happens afterwards.
    """
    kept.unlink(missing_ok=True)
    jobs = [(recipe, seed, False) for seed in seeds for recipe in RECIPES]
    jobs += [(recipe, seed, True) for seed in seeds for recipe in ENDS]
    results = []
    for recipe, seed, to_the_end in jobs:
        if recipe == "TRL, defaults" and any(
            run["recipe"] == recipe and run["reached"] is None for run in results
        ):
            continue  # given up once is enough
        results.append({**run_recipe(recipe, seed, to_the_end), "to_the_end": to_the_end})
        last = results[-1]
        with kept.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(last) + "\n")
        print(f"  {recipe:<30} seed {seed}  {time_of(last)}  {last['shares']}", flush=True)
    return results


def run_recipe(recipe: str, seed: int, to_the_end: bool) -> dict:
    """One run in a process of its own."""
    limit = ["--to-the-end"] if to_the_end else ["--limit", str(LIMIT)]
    command = [
        sys.executable,
        str(Path(__file__).with_name("recipes.py")),
        recipe,
        "--seed",
        str(seed),
        *limit,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"{recipe}: status {done.returncode} {done.stderr.strip()[-500:]}"
        )  # a killed process says nothing
    return json.loads(done.stdout.splitlines()[-1])


def time_of(run: Mapping) -> str:
    """Seconds until it was enough, or that it was not."""
    return f"{run['reached']:.1f} s" if run["reached"] else f"not within {run['seconds']:.0f} s"


def peak() -> list[dict[str, object]]:
    """Share of the machine's matmul peak that a training step reaches, each beside the peak that was measured right after it."""
    os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"  # every start-up is a first one
    results = []
    shapes = {
        "Bloom": bloom,
        "Llama": llama,
    }  # the article's recipe first: freed memory is kept from the first fast one on
    for shape, make in shapes.items():
        for name, rows, dtype, step, compiled in (
            ("as in the article, 4 rows", 4, FLOAT32, plain_step, False),
            (f"fast, {ROWS} rows", ROWS, BFLOAT16, fast_step, False),
            ("fast, 256 rows", 256, BFLOAT16, fast_step, False),
            ("fast, 256 rows, compiled", 256, BFLOAT16, fast_step, True),
        ):
            done, start_up, seconds = steady(make(), rows, dtype, step, compiled)
            top = matmul_peak(dtype)
            results.append(
                {
                    "what": f"{shape}, {name}",
                    "billion operations/s": done / seconds / 1e9,
                    "peak measured beside it": top / 1e9,
                    "share (%)": 100 * done / seconds / top,
                    "first five steps (s)": start_up,
                }
            )
            print("  " + ", ".join(told(results[-1])), flush=True)
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
    """Matmul operations that a whole training step really does, seconds of the first five steps, and the median of the seconds after."""
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
    """Operations a second of large square products."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    best = min(timed(lambda: a @ b) for _ in range(60))
    return 2 * size**3 / best


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def tokenizing() -> list[dict[str, float]]:
    """Rows a second: the article's map of one row at a time against ours, in turn, with the same result."""
    tokenizer, rows = load_tokenizer("tinyworld"), load_splits("tinyworld")["train"]
    rows = encodable(rows.select_columns(["instruction", "input", "output"]), tokenizer)
    results: dict[str, list[float]] = {"one row": [], "ours": []}
    for _ in range(
        11
    ):  # one of ours takes a quarter of a second: what else happens on the host then shows
        start = time.perf_counter()
        single = rows.map(
            partial(article_row, tokenizer=tokenizer),
            remove_columns=rows.column_names,
            load_from_cache_file=False,
        )
        results["one row"].append(len(rows) / (time.perf_counter() - start))
        start = time.perf_counter()
        many = encode_dataset(rows, tokenizer).dataset
        results["ours"].append(len(rows) / (time.perf_counter() - start))
        assert single.to_list() == many.to_list()
    return with_ratio(
        {name: statistics.median(values) for name, values in results.items()}, "ours", "one row"
    )


def encodable(rows: Dataset, tokenizer: object) -> Dataset:
    """The rows that the one-row map can take: it has no way to leave one out."""
    dead = set(encode_dataset(rows, tokenizer).dead)
    return rows.select([row for row in range(len(rows)) if row not in dead])


def with_ratio(figures: dict[str, float], faster: str, slower: str) -> list[dict[str, float]]:
    """The figures and how many times more the first is, as the only row of a table; printed."""
    figures["ratio"] = figures[faster] / figures[slower]
    print(
        "  "
        + ", ".join(f"{name} {value}" for name, value in zip(figures, told(figures), strict=True)),
        flush=True,
    )
    return [figures]


def answers() -> list[dict[str, float]]:
    """Answers a second: the article's pipeline, a question at a time, against ours, with the same answers, by the tuned model."""
    tokenizer, model, splits = (
        load_tokenizer("tinyworld"),
        load_model("tinyworld"),
        load_splits("tinyworld"),
    )
    tune(model, tokenizer, encode_dataset(splits["train"], tokenizer).dataset)
    rows = [row for row in splits["held_out"] if row["task"] == "relation"][:1_000]
    start = time.perf_counter()
    ours = [
        given.text for given in answer(rows, model, tokenizer, max_new_tokens=32, progress=False)
    ]
    seconds = time.perf_counter() - start
    ask = pipeline("text-generation", model=model, tokenizer=tokenizer)
    start = time.perf_counter()
    prompts = [format_prompt(row["instruction"], row["input"]) for row in rows]
    single = [
        ask(prompt, max_new_tokens=32, do_sample=False, return_full_text=False)[0]["generated_text"]
        for prompt in prompts
    ]
    figures = {"one by one": len(rows) / (time.perf_counter() - start), "ours": len(rows) / seconds}
    figures["the same (%)"] = (
        100 * sum(a.strip() == b.strip() for a, b in zip(ours, single, strict=True)) / len(rows)
    )
    return with_ratio(figures, "ours", "one by one")


def commands() -> list[dict[str, float]]:
    """Start-up: a command that only says how it is used, in turn with an interpreter that imports the same."""
    lines = {
        "ours": ["-m", "tutorial_lib.train", "--help"],
        "import alone": ["-c", "import tutorial_lib.train"],
    }
    seconds = {name: [] for name in lines}
    for _ in range(5):
        for name, line in lines.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *line], capture_output=True, check=True)
            seconds[name].append(time.perf_counter() - start)
    return with_ratio(
        {name: min(values) for name, values in seconds.items()}, "import alone", "ours"
    )


class Clock(TrainerCallback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *args: object, **kwargs: object) -> None:
        """Note it."""
        self.ends.append(time.perf_counter())


def tune(
    model: torch.nn.Module, tokenizer: object, encoded: Dataset, **options: object
) -> list[float]:
    """Train the model with the fast recipe and leave it in evaluation mode; return when each step ended (seconds)."""
    quiet = {"save_strategy": "no", "logging_strategy": "no", "report_to": [], "disable_tqdm": True}
    clock = Clock()
    with TemporaryDirectory() as folder:
        arguments = training_arguments(PROFILES["fast"], Path(folder), **quiet, **options)
        build_trainer(model, tokenizer, encoded, arguments, [clock], fast=True).train()
    model.eval()
    return clock.ends


def growth() -> list[dict[str, float]]:
    """Milliseconds a row and peak memory for rows × 1, × 10, × 100, each in a process of its own that trains on equally many in the end.

    The processes take turns of some seconds (the others are stopped meanwhile): other machines on the same host take memory bandwidth for
    half a minute at a time, which makes steps a quarter slower, and so all of them meet it alike.
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
        print(
            "  "
            + ", ".join(
                f"{name} {value}" for name, value in zip(result, told(result), strict=True)
            ),
            flush=True,
        )
    return results


def grow(copies: int) -> None:
    """In the process of its own: rows of one length, over and over, tokenized and trained on, after 300 steps of warming up.

    (With rows of many lengths, more rows make batches of more equal length, and a row cheaper: the figure would flatter.)
    """
    tokenizer, model = load_tokenizer("tinyworld"), load_model("tinyworld")
    rows = encodable(
        load_splits("tinyworld")["train"], tokenizer
    )  # so that a row's number is that of its ids
    lengths = [len(ids) for ids in encode_dataset(rows, tokenizer).dataset["input_ids"]]
    alike = rows.select([row for row, length in enumerate(lengths) if length == 24][:GROWING])
    tune(
        model,
        tokenizer,
        encode_dataset(concatenate_datasets([alike] * 20), tokenizer).dataset,
        max_steps=300,
    )
    rows = concatenate_datasets([alike] * copies)
    rounds = max(GROWTH) // copies
    tokenizing = without_pauses(
        [timed(lambda: encode_dataset(rows, tokenizer)) for _ in range(max(rounds, 5))]
    )
    encoded = encode_dataset(rows, tokenizer).dataset
    ends = tune(model, tokenizer, encoded, num_train_epochs=rounds)
    training = without_pauses([after - before for before, after in pairwise(ends)])
    figures = {
        "rows": len(rows),
        "training (µs a row)": 1e6 * training / ROWS,
        "tokenizing (µs a row)": 1e6 * tokenizing / len(rows),
        "peak memory (MB)": peak_resident() / 1e6,
    }
    print(json.dumps(figures))


def without_pauses(seconds: Sequence[float]) -> float:
    """The mean, without what was stopped meanwhile, so that others had their turn."""
    return statistics.mean(value for value in seconds if value < TURN)


def report(results: Mapping, folder: Path) -> None:
    """Write table, picture and figures."""
    machine = f"{platform.machine()}, {torch.cpu.get_capabilities().get('cpu_name', 'processor unknown')}, {torch.get_num_threads()} threads"
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("torch", "transformers", "datasets", "trl")
    )
    lines = [
        f"# Speed\n\n{time.strftime('%Y-%m-%d')}; {machine}; Python {platform.python_version()}, {versions}\n"
    ]
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


def told(row: Mapping[str, object]) -> list[str]:
    """The values of a row, to read."""
    return [
        f"{value:,.1f}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else value
        for value in row.values()
    ]


def table(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Rows of one kind as lines of Markdown."""
    return [
        " | ".join(["", *cells, ""]).strip()
        for cells in (list(rows[0]), ["---"] * len(rows[0]), *map(told, rows))
    ]


def race_table(runs: Sequence[Mapping]) -> list[str]:
    """A line a recipe: medians over the seeds, and the span of the time."""
    lines = [
        "| recipe | time to 90 % | against ours | supervised tokens/s | padding | peak memory | start-up |",
        "|---|---|---|---|---|---|---|",
    ]
    ours = median_time(runs, "ours")
    for recipe in RECIPES:
        own = [run for run in runs if run["recipe"] == recipe and not run["to_the_end"]]
        times = [run["reached"] for run in own]
        told = (
            "not within {:.0f} s".format(own[0]["seconds"])
            if None in times
            else f"{statistics.median(times):.1f} s ({min(times):.1f} to {max(times):.1f})"
        )
        ratio = ("> " if None in times else "") + f"{median_time(runs, recipe) / ours:.1f} ×"
        middle = {
            name: statistics.median(run[name] for run in own)
            for name in ("supervised_tokens_a_second", "padding", "peak_bytes", "start_up")
        }
        lines.append(
            f"| {recipe} | {told} | {ratio} | {middle['supervised_tokens_a_second']:,.0f} | {middle['padding']:.1%} "
            f"| {middle['peak_bytes'] / 1e6:,.0f} MB | {middle['start_up']:.1f} s |"
        )
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
    """A bar a recipe, a dot a seed."""
    figure, axes = plt.subplots(figsize=(9, 3.5), layout="constrained")
    names = list(reversed(RECIPES))
    axes.barh(
        names,
        [median_time(runs, name) for name in names],
        color=["#E69F00" if name == "ours" else "#0072B2" for name in names],
    )
    for run in runs:
        if not run["to_the_end"]:
            axes.plot(
                run["reached"] or run["seconds"], run["recipe"], "|", color="black", markersize=14
            )
    axes.set_xlabel(
        "seconds until 90 % of held-out questions in each language are answered exactly (asking excluded; a mark a seed)"
    )
    others = [
        median_time(runs, name) / median_time(runs, "ours") for name in RECIPES if name != "ours"
    ]
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
        "tokenizing": tokenizing,
        "answers": answers,
        "growth": growth,
        "commands": commands,
    }
    results = {}
    for part in options.only:
        print(part, flush=True)
        results[part] = work[part]()
        report(results, folder)
    print((folder / "speed.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
