"""``python -m tutorial_lib.book``: make the static site of the executed notebooks."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tutorial_lib.command import run_command
from tutorial_lib.profiles import runs_dir

ROOT = Path(__file__).parent.parent.parent


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the book and print where it is."""
    parser = argparse.ArgumentParser(
        prog="python -m tutorial_lib.book",
        description="Make a static site of the executed notebooks.",
    )
    executed, out = runs_dir() / "course", runs_dir() / "book"
    parser.add_argument(
        "--executed", type=Path, default=executed, help="executed notebooks (default: runs/course)"
    )
    parser.add_argument("--out", type=Path, default=out, help="for the site (default: runs/book)")
    options = parser.parse_args(arguments)

    from tutorial_lib.book.site import build_book

    pages = build_book(ROOT, options.executed, options.out)
    print(f"{len(pages)} pages: open {options.out / 'index.html'} in a browser")


if __name__ == "__main__":
    run_command(main)
