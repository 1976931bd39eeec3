"""``python -m tutorial_lib.publish.readme_pictures``: extract the README's PNG files.

A code cell of an executed notebook with the tag ``picture-NAME`` gives ``NAME.png``.
"""

import argparse
import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from tutorial_lib.command import run_command
from tutorial_lib.errors import LabError
from tutorial_lib.profiles import runs_dir

TAG = "picture-"
FOLDER = Path(__file__).parents[2] / "docs" / "pictures"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the pictures and list them."""
    parser = argparse.ArgumentParser(
        prog="python -m tutorial_lib.publish.readme_pictures",
        description="Extract the README's pictures from the executed notebooks.",
    )
    executed = runs_dir() / "course"
    parser.add_argument(
        "--executed", type=Path, default=executed, help="executed notebooks (default: runs/course)"
    )
    parser.add_argument(
        "--out", type=Path, default=FOLDER, help="for the pictures (default: docs/pictures)"
    )
    options = parser.parse_args(arguments)
    for path in write_pictures(options.executed, options.out):
        print(f"{path.stat().st_size / 1e3:6.0f} kB  {path}")


def write_pictures(executed: Path, out: Path) -> list[Path]:
    """Write the picture of every tagged cell as a PNG of at most 256 colours.

    Returns the paths, sorted by name.

    Raises:
        LabError: no cell has a tag, two have the same, or a cell with a tag shows no picture.
    """
    import nbformat
    from PIL import Image

    from tutorial_lib.run_folder import make_folder, replacing

    pictures: dict[str, bytes] = {}
    for path in sorted(executed.glob("*.ipynb")):
        for number, cell in enumerate(nbformat.read(path, as_version=4).cells):
            for tag in cell.metadata.get("tags", []):
                where = f"{path.name}, cell {number}"
                if tag in pictures:
                    raise LabError(f"{where}: another cell has the tag {tag!r}; give each its own")
                if tag.startswith(TAG):
                    pictures[tag] = _picture(cell, where)
    if not pictures:
        raise LabError(f"no cell with a tag {TAG}… in {executed}: run `make run` first")
    make_folder(out)
    paths = []
    for tag, data in sorted(pictures.items()):
        paths.append(out / f"{tag.removeprefix(TAG)}.png")
        image = Image.open(io.BytesIO(data)).convert("RGB").quantize(256)
        with replacing(paths[-1]) as partial:
            image.save(partial, format="PNG", optimize=True)
    return paths


def _picture(cell: Mapping, where: str) -> bytes:
    for output in cell.get("outputs", []):
        if picture := output.get("data", {}).get("image/png"):
            return base64.b64decode(picture)
    raise LabError(f"{where} has a picture tag but shows no picture: run the notebook again")


if __name__ == "__main__":
    run_command(main)
