"""``python -m tutorial_lib.train``: the course's whole recipe as one command, with the figures before and after.

It loads a base model and instruction data, asks held-out and training questions, fine-tunes all parameters with the article's
arguments, asks the same questions again, and writes the model and ``metrics.json`` to the output folder.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from tutorial_lib.console import run_command
from tutorial_lib.data import encode_dataset, first_rows, load_splits
from tutorial_lib.errors import DataError
from tutorial_lib.evaluation import exact_match, stopping_rate
from tutorial_lib.inference import answer
from tutorial_lib.models import load_model, load_tokenizer, pick_device
from tutorial_lib.profiles import PROFILES, Profile, get_profile
from tutorial_lib.training import (
    CHECKPOINTS_FOLDER,
    METRICS_FILE,
    build_trainer,
    last_checkpoint,
    prepare_output,
    save_model,
    training_arguments,
    write_json,
)

LANGUAGES = ("zh", "en")
HEADLINE_TASK = "relation"  # where a data set tells tasks apart, the figures are about this one


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, fine-tune, measure, save."""
    options = _parse(arguments)
    profile = _profile(options)
    tokenizer = load_tokenizer(profile.model)
    splits = load_splits(profile.dataset, seed=profile.seed)
    model = load_model(profile.model)
    settings = asdict(profile) | {"keep_end": options.keep_end, "limit_rows": options.limit_rows}
    prepare_output(options.out, settings, model.num_parameters(), resume=options.resume)

    rows = splits["train"].select(range(min(options.limit_rows or len(splits["train"]), len(splits["train"]))))
    encoded = encode_dataset(rows, tokenizer, profile.max_length, keep_end=options.keep_end)
    print(encoded)
    if not len(encoded.dataset):
        raise DataError(f"{profile.dataset}: no row leaves a token to learn from; raise --max-length (now {profile.max_length})")

    questions = {split: first_rows(splits[split], HEADLINE_TASK, profile.evaluation_rows) for split in ("held_out", "train")}
    model.to(pick_device())
    print(f"before: asking {sum(map(len, questions.values())):,} questions …")
    before = measure(model, tokenizer, questions, profile.max_new_tokens)

    set_seed(profile.seed)
    trainer = build_trainer(
        model,
        tokenizer,
        encoded.dataset,
        training_arguments(profile, options.out / CHECKPOINTS_FOLDER, save_steps=100, save_total_limit=1),
    )
    start = time.perf_counter()
    trainer.train(resume_from_checkpoint=last_checkpoint(options.out / CHECKPOINTS_FOLDER) if options.resume else None)
    seconds = time.perf_counter() - start

    print("after: asking the same questions …")
    after = measure(model, tokenizer, questions, profile.max_new_tokens)
    save_model(model, tokenizer, options.out)
    write_json(options.out / METRICS_FILE, {"before": before, "after": after, "train_seconds": round(seconds, 2)})
    print(table(before, after))
    print(f"trained in {seconds:.0f} s; model and {METRICS_FILE} in {options.out}; chat: python -m tutorial_lib.chat --model {options.out}")


def measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Mapping[str, Sequence[Mapping[str, str]]],
    max_new_tokens: int,
) -> dict:
    """Ask every question and return the figures of ``metrics.json``.

    Args:
        model: asked greedily.
        tokenizer: its tokenizer.
        questions: instruction rows of each split.
        max_new_tokens: the longest answer, in tokens.

    Returns:
        ``{"exact_match": {split: {"zh": share, "en": share}}, "stopping_rate": share}``, shares from 0 to 1; None for a language without
        questions.
    """
    shares, answers = {}, []
    for split, rows in questions.items():
        given = answer(rows, model, tokenizer, max_new_tokens=max_new_tokens)
        scores = exact_match(rows, given, by=("language",))
        shares[split] = {language: scores[language,].share if (language,) in scores else None for language in LANGUAGES}
        answers += given
    return {"exact_match": shares, "stopping_rate": stopping_rate(answers)}


def table(before: Mapping, after: Mapping) -> str:
    """Return the before/after table as text, a line a figure."""
    lines = [f"{'answered exactly':<28}{'before':>10}{'after':>10}"]
    for split, label in [("held_out", "held-out questions"), ("train", "training questions")]:
        for language, name in [("zh", "Chinese"), ("en", "English")]:
            figures = [_percent(when["exact_match"][split][language]) for when in (before, after)]
            lines.append(f"{f'{label}, {name}':<28}{figures[0]:>10}{figures[1]:>10}")
    lines.append(f"{'answers that stop':<28}{_percent(before['stopping_rate']):>10}{_percent(after['stopping_rate']):>10}")
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "none asked" if share is None else f"{share:.1%}"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tutorial_lib.train", description=__doc__.split("\n\n")[1])
    parser.add_argument("--out", type=Path, required=True, help="a new folder for the model and metrics.json")
    parser.add_argument("--profile", help=f"{' or '.join(PROFILES)} (default: TUTORIAL_PROFILE, else tiny)")
    parser.add_argument("--model", help="a hub id, a local folder, or tinyworld (default: the profile's)")
    parser.add_argument("--dataset", help="a hub id, a local folder or file, tinyworld, or tinyworld:SEED (default: the profile's)")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--epochs", type=float, dest="num_train_epochs")
    parser.add_argument("--max-length", type=int, help="tokens a row is cut at")
    parser.add_argument("--batch-size", type=int, dest="per_device_train_batch_size", help="rows a device and forward pass")
    parser.add_argument("--accumulation", type=int, dest="gradient_accumulation_steps", help="forward passes an optimizer step")
    parser.add_argument("--max-new-tokens", type=int, help="longest answer when measuring")
    parser.add_argument("--evaluation-rows", type=int, help="questions of each split when measuring")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--limit-rows", type=int, help="train on the first rows only")
    parser.add_argument("--keep-end", action="store_true", help="keep the end token of answers that are cut")
    parser.add_argument("--resume", action="store_true", help="go on with the unfinished run in --out")
    return parser.parse_args(arguments)


def _profile(options: argparse.Namespace) -> Profile:
    profile = get_profile(options.profile)
    given = {name: value for name, value in vars(options).items() if name in asdict(profile) and value is not None}
    return replace(profile, **{name: value for name, value in given.items() if name != "profile"})


if __name__ == "__main__":
    run_command(main)
