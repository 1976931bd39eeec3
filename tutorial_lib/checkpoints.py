"""Checkpoints to trust after a crash: sealed with checksums and verified; and a stop that saves."""

import hashlib
import json
import logging
import shutil
import signal
import threading
from pathlib import Path

from transformers import TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from tutorial_lib.run_folder import write_json

logger = logging.getLogger(__name__)

SEAL_FILE = "sha256.json"  # file name -> SHA-256, of every other file of a checkpoint


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest whole Trainer checkpoint in `folder` (most steps), or None.

    A sealed one must match its checksums; one without a seal must have a readable
    ``trainer_state.json``, which Trainer writes last. Others are logged as warnings.
    """
    for path in reversed(_checkpoints(folder)):
        if problem := _problem(path):
            logger.warning("%s is passed over: %s", path, problem)
        else:
            return str(path)
    return None


def seal(checkpoint: Path) -> None:
    """Write the checksums of every file of a checkpoint, whole or not at all."""
    write_json(checkpoint / SEAL_FILE, _checksums(checkpoint))


class SealCheckpoints(TrainerCallback):
    """Seals each checkpoint when it is whole, and only then deletes older ones.

    ``save_total_limit`` would count checkpoints without looking whether they are whole.

    Args:
        keep: how many of the newest are kept.
    """

    def __init__(self, keep: int = 1) -> None:
        self.keep = keep

    def on_save(self, args, state, control, **kwargs) -> None:
        """Seal the newest checkpoint; the first process does it for all."""
        if state.is_world_process_zero:
            folder = Path(args.output_dir)
            seal(folder / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")
            for old in _checkpoints(folder)[: -self.keep]:
                shutil.rmtree(old)


class StopOnInterrupt(TrainerCallback):
    """Ctrl-C, or JupyterLab's stop button, finishes the current step, saves and stops.

    A second one stops at once.

    Attributes:
        stopped_at: the optimizer step after which it was stopped, or None.
    """

    def __init__(self) -> None:
        self.stopped_at: int | None = None
        self._requested = False
        self._handler_before: object = None

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        """Listen from now on, in the main thread (only there Python hears signals).

        Several processes would not stop at the same step: they do not listen.
        """
        self.stopped_at, self._requested = None, False
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and args.world_size == 1:
            self._handler_before = signal.signal(signal.SIGINT, self._request)

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """Save and stop if that was requested."""
        if self._requested:
            self.stopped_at = state.global_step
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args, state, control, **kwargs) -> None:
        """Listen no more, and say how to go on."""
        self._restore()
        if self.stopped_at is not None:
            checkpoint = f"{args.output_dir}/{PREFIX_CHECKPOINT_DIR}-{self.stopped_at}"
            how = f"trainer.train(resume_from_checkpoint={checkpoint!r})"
            step = f"step {self.stopped_at} of {state.max_steps}"
            print(f"Stopped after {step}; saved {checkpoint}. Go on with {how}")

    def _request(self, number: int, frame: object) -> None:
        self._requested = True
        self._restore()
        print("Stopping after this step, with a checkpoint; once more stops at once.", flush=True)

    def _restore(self) -> None:
        if self._handler_before is not None:
            signal.signal(signal.SIGINT, self._handler_before)
            self._handler_before = None


def _checkpoints(folder: Path) -> list[Path]:
    """All checkpoints of a folder, by their steps."""
    paths = folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
    steps = {path: path.name.rpartition("-")[2] for path in paths}
    return sorted((p for p in steps if steps[p].isdigit()), key=lambda p: int(steps[p]))


def _problem(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        if not json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8")):
            return f"its {TRAINER_STATE_NAME} is empty"
    except (OSError, ValueError):
        return "it was cut off while it was written"
    if not (checkpoint / SEAL_FILE).exists():
        return None  # a plain Trainer's
    try:
        sealed = dict(json.loads((checkpoint / SEAL_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return f"its {SEAL_FILE} is damaged"
    actual = _checksums(checkpoint)
    changed = sorted(name for name in {*sealed, *actual} if sealed.get(name) != actual.get(name))
    return f"{', '.join(changed)} changed since it was written" if changed else None


def _checksums(checkpoint: Path) -> dict[str, str]:
    sums = {}
    for path in sorted(checkpoint.rglob("*")):
        if path.is_file() and path.name != SEAL_FILE:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            sums[str(path.relative_to(checkpoint))] = digest
    return sums
