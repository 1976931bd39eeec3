"""``python -m tutorial_lib.train``: the course's whole recipe as one command, with the figures before and after.

It loads a base model and instruction data, asks held-out and training questions, fine-tunes all parameters with the article's
arguments, asks the same questions again, and writes the model and ``metrics.json`` to the output folder. Started by ``torchrun`` or
``accelerate launch``, all processes train one model together, on the same rows an optimizer step as one process would.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

from accelerate import PartialState
from datasets import disable_progress_bars
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from tutorial_lib.checkpoints import SealCheckpoints, StopOnInterrupt, last_checkpoint
from tutorial_lib.command import run_command
from tutorial_lib.data import encode_dataset, first_rows, load_splits
from tutorial_lib.errors import DataError, InterruptedTrainingError
from tutorial_lib.evaluation import exact_match, stopping_rate
from tutorial_lib.inference import answer
from tutorial_lib.models import load_model, load_tokenizer
from tutorial_lib.processes import (
    batches_a_step,
    gather_shares,
    join_processes,
    own_share,
    until_all_are_done,
)
from tutorial_lib.profiles import PROFILES, Profile, get_profile
from tutorial_lib.recipe import build_trainer, training_arguments, whole_model
from tutorial_lib.run_folder import (
    CHECKPOINTS_FOLDER,
    METRICS_FILE,
    locked,
    prepare_output,
    save_model,
    write_json,
)

LANGUAGES = ("zh", "en")
HEADLINE_TASK = "relation"  # where a data set tells tasks apart, the figures are about this one


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, fine-tune, measure, save."""
    options = _parse(arguments)
    state = join_processes(options.processes)
    with until_all_are_done(state), ExitStack() as held:
        _train(options, state, held)


def _train(options: argparse.Namespace, state: PartialState, held: ExitStack) -> None:
    profile = _profile(options, state.num_processes)
    if not state.is_main_process:
        disable_progress_bars()
    tokenizer = load_tokenizer(profile.model)
    with state.main_process_first():  # the first one makes TinyWorld's rows, the others find them
        splits = load_splits(profile.dataset, seed=profile.seed)
    model = load_model(profile.model)
    settings = asdict(profile) | {
        "keep_end": options.keep_end,
        "limit_rows": options.limit_rows,
        "max_steps": options.max_steps,
    }
    if state.is_main_process:
        held.enter_context(locked(options.out))
        prepare_output(options.out, settings, model.num_parameters(), resume=options.resume)
    state.wait_for_everyone()
    state.print(
        f"{state.num_processes} process{'es' * (state.num_processes > 1)} on {state.device.type}: {profile.per_device_train_batch_size} "
        f"rows a batch × {profile.gradient_accumulation_steps} batches × {state.num_processes} = "
        f"{profile.effective_batch_size * state.num_processes} rows an optimizer step"
    )

    rows = splits["train"].select(
        range(min(options.limit_rows or len(splits["train"]), len(splits["train"])))
    )
    encoded = encode_dataset(rows, tokenizer, profile.max_length, keep_end=options.keep_end)
    state.print(encoded)
    rows_a_round = profile.per_device_train_batch_size * state.num_processes
    if state.num_processes > 1 and (rest := len(encoded.dataset) % rows_a_round):
        state.print(
            f"the last round of an epoch has {rest} rows: {rows_a_round - rest} others are seen twice, so that all have as many"
        )
    if not len(encoded.dataset):
        raise DataError(
            f"{profile.dataset}: no row leaves a token to learn from; raise --max-length (now {profile.max_length})"
        )

    questions = {
        split: first_rows(splits[split], HEADLINE_TASK, profile.evaluation_rows)
        for split in ("held_out", "train")
    }
    model.to(state.device)
    state.print(f"before: asking {sum(map(len, questions.values())):,} questions …")
    before = measure(model, tokenizer, questions, profile.max_new_tokens, state)

    set_seed(profile.seed)
    arguments = training_arguments(
        profile,
        options.out / CHECKPOINTS_FOLDER,
        max_steps=options.max_steps or -1,
        save_steps=options.save_steps,
    )
    interrupt = StopOnInterrupt()
    trainer = build_trainer(
        model,
        tokenizer,
        encoded.dataset,
        arguments,
        [SealCheckpoints(), interrupt],
        fast=profile.fast,
    )
    start = time.perf_counter()
    trainer.train(
        resume_from_checkpoint=last_checkpoint(options.out / CHECKPOINTS_FOLDER)
        if options.resume
        else None
    )
    seconds = time.perf_counter() - start
    if interrupt.stopped_at is not None:
        raise InterruptedTrainingError(
            f"stopped after step {interrupt.stopped_at}; repeat the command with --resume to go on from there"
        )

    model = whole_model(trainer)
    state.print("after: asking the same questions …")
    after = measure(model, tokenizer, questions, profile.max_new_tokens, state)
    if not state.is_main_process:
        return
    save_model(model, tokenizer, options.out)
    losses = [
        (entry["step"], entry["loss"]) for entry in trainer.state.log_history if "loss" in entry
    ]
    figures = {
        "before": before,
        "after": after,
        "processes": state.num_processes,
        "losses": losses,
        "train_seconds": round(seconds, 2),
    }
    write_json(options.out / METRICS_FILE, figures)
    print(table(before, after))
    print(
        f"trained in {seconds:.0f} s; model and {METRICS_FILE} in {options.out}; chat: python -m tutorial_lib.chat --model {options.out}"
    )


def measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Mapping[str, Sequence[Mapping[str, str]]],
    max_new_tokens: int,
    state: PartialState | None = None,
) -> dict:
    """Ask every question, each process its share if there are several, and return the figures of ``metrics.json``.

    Args:
        model: asked greedily.
        tokenizer: its tokenizer.
        questions: instruction rows of each split.
        max_new_tokens: the longest answer, in tokens.
        state: of this process and its peers; None where there are none, as in a notebook.

    Returns:
        ``{"exact_match": {split: {"zh": share, "en": share}}, "stopping_rate": share}``, shares from 0 to 1; None for a language without
        questions.
    """
    shares, answers = {}, []
    for split, rows in questions.items():
        given = gather_shares(
            answer(own_share(rows, state), model, tokenizer, max_new_tokens=max_new_tokens), state
        )
        scores = exact_match(rows, given, by=("language",))
        shares[split] = {
            language: scores[language,].share if (language,) in scores else None
            for language in LANGUAGES
        }
        answers += given
    return {"exact_match": shares, "stopping_rate": stopping_rate(answers) if answers else None}


def table(before: Mapping, after: Mapping) -> str:
    """Return the before/after table as text, a line a figure."""
    lines = [f"{'answered exactly':<28}{'before':>10}{'after':>10}"]
    for split, label in [("held_out", "held-out questions"), ("train", "training questions")]:
        for language, name in [("zh", "Chinese"), ("en", "English")]:
            figures = [_percent(when["exact_match"][split][language]) for when in (before, after)]
            lines.append(f"{f'{label}, {name}':<28}{figures[0]:>10}{figures[1]:>10}")
    lines.append(
        f"{'answers that stop':<28}{_percent(before['stopping_rate']):>10}{_percent(after['stopping_rate']):>10}"
    )
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "none asked" if share is None else f"{share:.1%}"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tutorial_lib.train", description=__doc__.split("\n\n")[1]
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="a new folder for the model and metrics.json"
    )
    parser.add_argument(
        "--profile", help=f"{' or '.join(PROFILES)} (default: TUTORIAL_PROFILE, else tiny)"
    )
    parser.add_argument(
        "--model", help="a hub id, a local folder, or tinyworld (default: the profile's)"
    )
    parser.add_argument(
        "--dataset",
        help="a hub id, a local folder or file, tinyworld, or tinyworld:SEED (default: the profile's)",
    )
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--epochs", type=float, dest="num_train_epochs")
    parser.add_argument("--max-length", type=int, help="tokens a row is cut at")
    parser.add_argument(
        "--batch-size",
        type=int,
        dest="per_device_train_batch_size",
        help="rows a device and forward pass",
    )
    parser.add_argument(
        "--accumulation",
        type=int,
        dest="gradient_accumulation_steps",
        help="batches a step, of all processes",
    )
    parser.add_argument("--max-steps", type=int, help="stop after so many optimizer steps")
    parser.add_argument(
        "--save-steps",
        type=int,
        default=100,
        help="write a checkpoint every so many optimizer steps (default: 100)",
    )
    parser.add_argument("--logging-steps", type=int, help="note the loss every so many steps")
    parser.add_argument("--max-new-tokens", type=int, help="longest answer when measuring")
    parser.add_argument(
        "--evaluation-rows", type=int, help="questions of each split when measuring"
    )
    parser.add_argument("--seed", type=int)
    parser.add_argument("--limit-rows", type=int, help="train on the first rows only")
    parser.add_argument(
        "--keep-end", action="store_true", help="keep the end token of answers that are cut"
    )
    parser.add_argument(
        "--processes", type=int, help="refuse to run unless so many processes train together"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the unfinished run in --out"
    )
    return parser.parse_args(arguments)


def _profile(options: argparse.Namespace, processes: int) -> Profile:
    """Return the profile with the command line's changes; its accumulation is each process's own."""
    profile = get_profile(options.profile)
    given = {
        name: value
        for name, value in vars(options).items()
        if name in asdict(profile) and value is not None
    }
    profile = replace(
        profile, **{name: value for name, value in given.items() if name != "profile"}
    )
    each = batches_a_step(
        profile.effective_batch_size, profile.per_device_train_batch_size, processes
    )
    return replace(profile, gradient_accumulation_steps=each)


if __name__ == "__main__":
    run_command(main)
