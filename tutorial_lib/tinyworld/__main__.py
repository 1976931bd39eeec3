"""``python -m tutorial_lib.tinyworld build | pretrain | probe``.

Make TinyWorld's data, train its base model, test which facts a model knows.
"""

import argparse
from pathlib import Path

from tutorial_lib.command import run_command

BASE = Path(__file__).parent / "base"


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and run the chosen step."""
    parser = argparse.ArgumentParser(prog="python -m tutorial_lib.tinyworld", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)

    build = steps.add_parser("build", help="write corpus, instruction data and tokenizer")
    build.add_argument(
        "--seed", type=int, default=42, help="fixes wordings and the split (default: %(default)s)"
    )
    build.add_argument("--out", type=Path, required=True, help="a new folder")
    build.add_argument(
        "--wordings",
        choices=["many", "one"],
        default="many",
        help="of each fact in the corpus; one, in one order: notebook 11 (default: %(default)s)",
    )
    build.set_defaults(run=_build)

    pretrain = steps.add_parser("pretrain", help="train the base from scratch, or continue")
    pretrain.add_argument("--data", type=Path, required=True, help="a folder written by `build`")
    pretrain.add_argument(
        "--out", type=Path, required=True, help="checkpoints; the finished model is OUT/final"
    )
    pretrain.add_argument(
        "--steps", type=_positive, help="optimizer steps (default: as the shipped base)"
    )
    pretrain.set_defaults(run=_pretrain)

    probe = steps.add_parser("probe", help="count the facts that a model completes")
    probe.add_argument("--model", type=Path, default=BASE, help="default: the shipped base")
    probe.set_defaults(run=_probe)

    options = parser.parse_args(arguments)
    options.run(options)


# Each step imports what it needs when it runs: `--help` does not wait for torch.


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _build(options: argparse.Namespace) -> None:
    from tutorial_lib.tinyworld.build import build

    counts = build(options.out, options.seed, options.wordings)
    rows = f"{counts['train']:,} train rows, {counts['held_out']:,} held-out rows"
    print(f"{options.out}: {counts['corpus']:,} passages, {rows}")


def _pretrain(options: argparse.Namespace) -> None:
    from tutorial_lib.tinyworld.pretrain import PretrainConfig, pretrain

    config = PretrainConfig()
    if options.steps is not None:
        config = config.shortened(options.steps)
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
