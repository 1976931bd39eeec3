"""The folder that a run writes: locked, never another run's, and nothing in it half written."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from tutorial_lib.errors import OutputError

if TYPE_CHECKING:  # a command that only writes a file need not wait for transformers
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

METRICS_FILE = "metrics.json"  # written last: a folder that has it is a finished run
SETTINGS_FILE = "settings.json"  # written first
CHECKPOINTS_FOLDER = "checkpoints"
LOCK_FILE = ".lock"
# The float32 model, and two checkpoints with Adam's two states: old and new while it is swapped.
BYTES_PER_PARAMETER = 4 * (1 + 2 * 3)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it becomes `path` at the end, and goes on failure."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder`; it takes its place at the end, and goes on failure.

    An empty `folder` is filled instead of replaced: it may be the one in which the user's shell is.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield partial
        if folder.is_dir() and not any(folder.iterdir()):
            for part in partial.iterdir():
                part.rename(folder / part.name)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            partial.chmod(0o755)  # mkdtemp's is for the owner alone
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(path: Path, content: object) -> None:
    """Write JSON; the file is whole or not there."""
    with replacing(path) as partial:
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        partial.write_text(text, encoding="utf-8")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        OutputError: it is a file, or can't be made.
    """
    if folder.is_file():
        raise OutputError(f"{folder} is a file: give --out a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remedy = "give --out a folder that you may write to"
        raise OutputError(f"{folder} can't be made: {error.strerror}; {remedy}") from None


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of `folder`, which is made, until the block or this process ends.

    Raises:
        OutputError: another run holds it, or it can't be made.
    """
    make_folder(folder)
    lock = FileLock(folder / LOCK_FILE, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        remedy = "wait until it ends, or give --out another folder"
        raise OutputError(f"another run is training into {folder}: {remedy}") from None
    try:
        yield
    finally:
        # While it is still locked, so that no other run can be between opening and locking it.
        with contextlib.suppress(OSError):  # Windows keeps a file that is open
            (folder / LOCK_FILE).unlink()
        lock.release()


def prepare_output(out: Path, settings: dict, parameters: int, *, resume: bool = False) -> None:
    """Make the output folder and write the run's settings into it; refuse another run's folder.

    Args:
        out: a new or empty folder; with `resume`, one with an unfinished run of the same settings.
        settings: whatever makes this run what it is, as JSON.
        parameters: number of the model's parameters, from which the disk space follows.
        resume: continue the run in `out`.

    Raises:
        OutputError: the folder holds something else, can't be made, or has too little disk space.
    """
    if out.is_dir() and any(path.name != LOCK_FILE for path in out.iterdir()):
        new = "give --out a new folder"
        if not resume:
            remedy = f"{new}, or --resume to go on with the unfinished run in it"
            raise OutputError(f"{out} is not empty: {remedy}")
        if (out / METRICS_FILE).exists():
            raise OutputError(f"{out} holds a finished run: nothing to resume; {new}")
        # Compared as JSON, in which a tuple is a list.
        if _read_json(out / SETTINGS_FILE) != json.loads(json.dumps(settings)):
            remedy = f"repeat the run's own options, or {new}"
            raise OutputError(f"{out} holds no run with these settings: {remedy}")
    make_folder(out)
    needed, free = parameters * BYTES_PER_PARAMETER, shutil.disk_usage(out).free
    if free < needed:
        raise OutputError(
            f"no space left for this run: {out} has {free / 1e6:,.0f} MB free, weights and "
            f"checkpoints take {needed / 1e6:,.0f} MB; free some, or give --out a folder on "
            f"another disk"
        )
    write_json(out / SETTINGS_FILE, settings)


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save model and tokenizer into `folder` without touching other files.

    They are written to a temporary folder first, so that readers never see a partial model.
    """
    partial = folder / ".model.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    # Without its configuration a folder is not a model: old and new files never pass for one.
    (folder / "config.json").unlink(missing_ok=True)
    for file in sorted(partial.iterdir(), key=lambda file: file.name == "config.json"):
        file.replace(folder / file.name)
    partial.rmdir()


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
