"""The output folder of a run: locked while it is written, refused where it holds another run, and never half written."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tutorial_lib.errors import OutputError

METRICS_FILE = "metrics.json"  # written last: a folder that has it is a finished run
SETTINGS_FILE = "settings.json"  # written first
CHECKPOINTS_FOLDER = "checkpoints"
BYTES_A_PARAMETER = (
    4 * (1 + 2 * 3)
)  # the float32 model, and two checkpoints with Adam's two states (old and new, while it is swapped)
LOCK_FILE = ".lock"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; when the block ends it takes the place of `path`, when it fails it goes away."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def prepare_output(out: Path, settings: dict, parameters: int, *, resume: bool = False) -> None:
    """Make the output folder and note the run's settings in it; refuse to touch another run.

    Args:
        out: a new or empty folder; with `resume`, one with an unfinished run of the same settings.
        settings: what makes this run what it is; anything that JSON can hold.
        parameters: of the model, to tell how much room its checkpoints take.
        resume: go on with the run that is there.

    Raises:
        OutputError: the folder holds something else, can't be made, or the disk has too little room.
    """
    noted = out / SETTINGS_FILE
    if out.is_dir() and any(path.name != LOCK_FILE for path in out.iterdir()):
        if not resume:
            raise OutputError(
                f"{out} is not empty: give --out a new folder, or --resume to go on with the unfinished run in it"
            )
        if (out / METRICS_FILE).exists():
            raise OutputError(
                f"{out} holds a finished run: nothing to resume; give --out a new folder"
            )
        if _noted_settings(noted) != json.loads(
            json.dumps(settings)
        ):  # as JSON tells them: a tuple is a list there
            raise OutputError(
                f"{out} holds no run with these settings: repeat the run's own options, or give --out a new folder"
            )
    make_folder(out)
    needed, free = parameters * BYTES_A_PARAMETER, shutil.disk_usage(out).free
    if free < needed:
        raise OutputError(
            f"no space left for this run: {out} has {free / 1e6:,.0f} MB free, weights and checkpoints take {needed / 1e6:,.0f} MB; "
            f"free some, or give --out a folder on another disk"
        )
    write_json(noted, settings)


def _noted_settings(noted: Path) -> object:
    try:
        return json.loads(noted.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_json(path: Path, content: object) -> None:
    """Write JSON under a temporary name and rename it: the file is whole or not there."""
    with replacing(path) as partial:
        partial.write_text(
            json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save model and tokenizer into `folder`, beside what is there; written aside first, so that no half model is ever seen."""
    partial = folder / ".model.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    # The configuration goes first and comes last: without it the folder is no model, so old and new files never pass for one.
    (folder / "config.json").unlink(missing_ok=True)
    for file in sorted(partial.iterdir(), key=lambda file: file.name == "config.json"):
        file.replace(folder / file.name)
    partial.rmdir()


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep other runs out of `folder` (made where it is missing) until the block or this process ends, however it ends.

    Raises:
        OutputError: another run holds it, or it can't be made.
    """
    make_folder(folder)
    lock = FileLock(folder / LOCK_FILE, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise OutputError(
            f"another run is training into {folder}: wait until it ends, or give --out another folder"
        ) from None
    try:
        yield
    finally:
        (folder / LOCK_FILE).unlink(missing_ok=True)
        lock.release()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        OutputError: it can't be made.
    """
    if folder.is_file():
        raise OutputError(f"{folder} is a file: give --out a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} can't be made: {error.strerror}; give --out a folder that you may write to"
        ) from None
