"""``python -m tutorial_lib.publish.readme_pictures``: take the README's pictures out of the executed notebooks.

A code cell with the tag ``picture-NAME`` gives ``NAME.png``.
"""

import argparse
import base64
import io
from collections.abc import Sequence
from pathlib import Path

import nbformat
from PIL import Image

from tutorial_lib.command import run_command
from tutorial_lib.errors import LabError
from tutorial_lib.profiles import runs_dir
from tutorial_lib.run_folder import replacing

TAG = "picture-"
FOLDER = Path(__file__).parents[2] / "docs" / "pictures"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the pictures and list them."""
    parser = argparse.ArgumentParser(
        prog="python -m tutorial_lib.publish.readme_pictures",
        description="Take the README's pictures out of the notebooks.",
    )
    parser.add_argument(
        "--executed",
        type=Path,
        default=runs_dir() / "course",
        help="folder of executed notebooks (default: runs/course)",
    )
    parser.add_argument(
        "--out", type=Path, default=FOLDER, help="where the pictures go (default: docs/pictures)"
    )
    options = parser.parse_args(arguments)
    for path in write_pictures(options.executed, options.out):
        print(f"{path.stat().st_size / 1e3:6.0f} kB  {path}")


def write_pictures(executed: Path, out: Path) -> list[Path]:
    """Write the picture of every tagged cell as a PNG of at most 256 colours; return their paths, sorted.

    Raises:
        LabError: no cell is tagged, two have the same tag, or a tagged cell shows no picture.
    """
    found: dict[str, bytes] = {}
    for path in sorted(executed.glob("*.ipynb")):
        for number, cell in enumerate(nbformat.read(path, as_version=4).cells):
            for tag in cell.metadata.get("tags", []):
                if tag.startswith(TAG):
                    if tag in found:
                        raise LabError(
                            f"{path.name}, cell {number}: another cell has the tag {tag!r} too; give each its own"
                        )
                    found[tag] = _picture_of(cell, f"{path.name}, cell {number}")
    if not found:
        raise LabError(f"no cell with a tag {TAG}… in {executed}: run `make run` first")
    out.mkdir(parents=True, exist_ok=True)
    return [
        _write(out / f"{tag.removeprefix(TAG)}.png", data) for tag, data in sorted(found.items())
    ]


def _picture_of(cell: nbformat.NotebookNode, where: str) -> bytes:
    for output in cell.get("outputs", []):
        if picture := output.get("data", {}).get("image/png"):
            return base64.b64decode(picture)
    raise LabError(f"{where} is tagged as a picture but shows none: run the notebook again")


def _write(path: Path, data: bytes) -> Path:
    with replacing(path) as partial:
        Image.open(io.BytesIO(data)).convert("RGB").quantize(256).save(
            partial, format="PNG", optimize=True
        )
    return path


if __name__ == "__main__":
    run_command(main)
