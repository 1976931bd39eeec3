"""``python -m tutorial_lib.tinyworld build | pretrain | probe``: make TinyWorld's data, train its base model, test what it knows."""

import argparse
from pathlib import Path

from tutorial_lib.command import run_command


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and run the chosen step."""
    parser = argparse.ArgumentParser(prog="python -m tutorial_lib.tinyworld", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)

    build = steps.add_parser("build", help="write corpus, instruction data and tokenizer")
    build.add_argument(
        "--seed", type=int, default=42, help="chooses wordings and the split (default: 42)"
    )
    build.add_argument("--out", type=Path, required=True, help="a new folder")
    build.add_argument(
        "--said",
        choices=["many-ways", "once"],
        default="many-ways",
        help="once: each fact always in one wording and one order, the experiment of notebook 11 (default: many-ways)",
    )
    build.set_defaults(run=_build)

    pretrain = steps.add_parser(
        "pretrain", help="train the base model from scratch, or go on where it stopped"
    )
    pretrain.add_argument("--data", type=Path, required=True, help="a folder written by `build`")
    pretrain.add_argument(
        "--out", type=Path, required=True, help="checkpoints; the finished model lands in OUT/final"
    )
    pretrain.add_argument(
        "--steps",
        type=_positive,
        default=None,
        help="optimizer steps (default: as the shipped base)",
    )
    pretrain.set_defaults(run=_pretrain)

    probe = steps.add_parser("probe", help="how many facts does a model complete?")
    probe.add_argument(
        "--model",
        type=Path,
        default=Path(__file__).parent / "base",
        help="default: the shipped base",
    )
    probe.set_defaults(run=_probe)

    options = parser.parse_args(arguments)
    options.run(options)


# Each step imports what it needs when it runs: `--help` and `build` do not wait for torch.


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def _build(options: argparse.Namespace) -> None:
    from tutorial_lib.tinyworld.build import build

    report = build(options.out, options.seed, options.said)
    print(
        f"{report.folder}: {report.corpus:,} passages, {report.train:,} train rows, {report.held_out:,} held-out rows"
    )


def _pretrain(options: argparse.Namespace) -> None:
    from tutorial_lib.tinyworld.pretrain import PretrainConfig, pretrain

    config = (
        PretrainConfig() if options.steps is None else PretrainConfig().shortened(options.steps)
    )
    print(f"finished: {pretrain(options.data, options.out, config)}")


def _probe(options: argparse.Namespace) -> None:
    from tutorial_lib.models import load_model, load_tokenizer
    from tutorial_lib.tinyworld.facts import load_entities
    from tutorial_lib.tinyworld.probe import completes, make_probes, summarize

    model, tokenizer = load_model(options.model), load_tokenizer(options.model)
    probes = make_probes(load_entities(), tokenizer)
    print(summarize(probes, completes(model, tokenizer, probes)))


if __name__ == "__main__":
    run_command(main)
