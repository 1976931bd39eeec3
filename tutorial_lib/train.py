"""``python -m tutorial_lib.train``: the course's recipe as one command.

It loads a base model and instruction data, asks held-out and training questions, fine-tunes all
parameters with the profile's arguments, asks the same questions again, and writes the model and
``metrics.json`` to the output folder. Started by ``torchrun`` or ``accelerate launch``, all
processes train one model together, on the same rows per optimizer step as one process would.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tutorial_lib import run_folder
from tutorial_lib.command import run_command
from tutorial_lib.errors import DataError, InterruptedTrainingError
from tutorial_lib.profiles import PROFILES, Profile, get_profile

if TYPE_CHECKING:
    from accelerate import PartialState


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, fine-tune, measure, save."""
    options = _parse(arguments)
    from tutorial_lib.processes import join_processes, until_all_are_done

    state = join_processes(options.processes)
    with until_all_are_done(state), ExitStack() as stack:
        _train(options, state, stack)


def _train(options: argparse.Namespace, state: PartialState, stack: ExitStack) -> None:
    from datasets import disable_progress_bars
    from transformers import set_seed

    from tutorial_lib.checkpoints import SealCheckpoints, StopOnInterrupt, last_checkpoint
    from tutorial_lib.data import encode_dataset, first_rows, load_splits
    from tutorial_lib.evaluation import before_after_table, measure
    from tutorial_lib.models import load_model, load_tokenizer
    from tutorial_lib.recipe import build_trainer, training_arguments, whole_model
    from tutorial_lib.tinyworld.instructions import RELATION_TASK

    profile = _profile(options, state.num_processes)
    if not state.is_main_process:
        disable_progress_bars()
    tokenizer = load_tokenizer(profile.model)
    with state.main_process_first():  # the first one makes TinyWorld's rows, the others find them
        splits = load_splits(profile.dataset, seed=profile.seed)
    model = load_model(profile.model)
    chosen = {name: getattr(options, name) for name in ("keep_end", "limit_rows", "max_steps")}
    if state.is_main_process:
        stack.enter_context(run_folder.locked(options.out))
        settings, size = asdict(profile) | chosen, model.num_parameters()
        run_folder.prepare_output(options.out, settings, size, resume=options.resume)
    state.wait_for_everyone()
    batch, world = profile.per_device_train_batch_size, state.num_processes
    state.print(
        f"{world} process{'es' * (world > 1)} on {state.device.type}: {batch} rows per batch × "
        f"{profile.gradient_accumulation_steps} batches × {world} = "
        f"{profile.effective_batch_size * world} rows per optimizer step"
    )

    rows = splits["train"]
    rows = rows.select(range(min(options.limit_rows or len(rows), len(rows))))
    encoded = encode_dataset(rows, tokenizer, profile.max_length, keep_end=options.keep_end)
    state.print(encoded)
    if not len(encoded.dataset):
        remedy = f"raise --max-length (now {profile.max_length})"
        raise DataError(f"{profile.dataset}: no row leaves a token to learn from; {remedy}")
    if world > 1 and (rest := len(encoded.dataset) % (batch * world)):
        seen_twice = f"{batch * world - rest} others are seen twice"
        last_round = f"the last round of an epoch has {rest} rows"
        state.print(f"{last_round}: {seen_twice}, so that all processes have as many")

    questions = {}
    for split in ("held_out", "train"):  # TinyWorld's figures are about this one task
        questions[split] = first_rows(splits[split], RELATION_TASK, profile.evaluation_rows)
    model.to(state.device)
    state.print(f"before: asking {sum(map(len, questions.values())):,} questions …")
    before = measure(model, tokenizer, questions, profile.max_new_tokens, state)

    set_seed(profile.seed)
    checkpoints = options.out / run_folder.CHECKPOINTS_FOLDER
    steps = {"max_steps": options.max_steps or -1, "save_steps": options.save_steps}
    arguments = training_arguments(profile, checkpoints, **steps)
    interrupt = StopOnInterrupt()
    callbacks, fast = [SealCheckpoints(), interrupt], profile.fast
    trainer = build_trainer(model, tokenizer, encoded.dataset, arguments, callbacks, fast=fast)
    start = time.perf_counter()
    trainer.train(resume_from_checkpoint=last_checkpoint(checkpoints) if options.resume else None)
    seconds = time.perf_counter() - start
    if (step := interrupt.stopped_at) is not None:
        remedy = "repeat the command with --resume to go on from there"
        raise InterruptedTrainingError(f"stopped after step {step}; {remedy}")

    model = whole_model(trainer)
    state.print("after: asking the same questions …")
    after = measure(model, tokenizer, questions, profile.max_new_tokens, state)
    if not state.is_main_process:
        return
    run_folder.save_model(model, tokenizer, options.out)
    logs = trainer.state.log_history
    losses = [(log["step"], log["loss"]) for log in logs if "loss" in log]
    figures = {"before": before, "after": after, "processes": world, "losses": losses}
    figures["train_seconds"] = round(seconds, 2)
    metrics = options.out / run_folder.METRICS_FILE
    run_folder.write_json(metrics, figures)
    print(before_after_table(before, after))
    chat = f"chat: python -m tutorial_lib.chat --model {options.out}"
    print(f"trained in {seconds:.0f} s; model and {metrics.name} in {options.out}; {chat}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    description = __doc__.split("\n\n")[1]
    parser = argparse.ArgumentParser("python -m tutorial_lib.train", description=description)
    add, default = parser.add_argument, "(default: the profile's)"
    sources = f"a hub id, a local folder or file, tinyworld, or tinyworld:SEED {default}"
    add("--out", type=Path, required=True, help="a new folder for the model and metrics.json")
    add("--profile", help=f"{' or '.join(PROFILES)} (default: TUTORIAL_PROFILE, else tiny)")
    add("--model", help=f"a hub id, a local folder, or tinyworld {default}")
    add("--dataset", help=sources)
    add("--learning-rate", type=float)
    add("--epochs", type=float, dest="num_train_epochs")
    add("--max-length", type=int, help="tokens at which an example is cut")
    rows, batches = "rows per device and forward pass", "batches per step, of all processes"
    add("--batch-size", type=int, dest="per_device_train_batch_size", help=rows)
    add("--accumulation", type=int, dest="gradient_accumulation_steps", help=batches)
    add("--max-steps", type=int, help="stop after this many optimizer steps")
    add("--save-steps", type=int, default=100, help="steps between checkpoints (default: 100)")
    add("--logging-steps", type=int, help="steps between logs of the loss")
    add("--max-new-tokens", type=int, help="longest answer when measuring")
    add("--evaluation-rows", type=int, help="questions of each split when measuring")
    add("--seed", type=int)
    add("--limit-rows", type=int, help="train on the first rows only")
    add("--keep-end", action="store_true", help="keep the end token of answers that are cut")
    add("--processes", type=int, help="refuse to run unless this many processes train together")
    add("--resume", action="store_true", help="go on with the unfinished run in --out")
    return parser.parse_args(arguments)


def _profile(options: argparse.Namespace, processes: int) -> Profile:
    """Return the profile with the options' changes; its accumulation is each process's own."""
    from tutorial_lib.processes import batches_per_step

    profile = get_profile(options.profile)
    chosen = {name: value for name, value in vars(options).items() if value is not None}
    profile = replace(profile, **{name: chosen[name] for name in asdict(profile) if name in chosen})
    batch = profile.per_device_train_batch_size
    accumulation = batches_per_step(profile.effective_batch_size, batch, processes)
    return replace(profile, gradient_accumulation_steps=accumulation)


if __name__ == "__main__":
    run_command(main)
