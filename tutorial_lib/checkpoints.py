"""Checkpoints that can be trusted after a crash: sealed with checksums, verified before use, never all gone; and a stop that saves."""

import hashlib
import json
import logging
import shutil
import signal
import threading
from pathlib import Path

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from tutorial_lib.run_folder import replacing

logger = logging.getLogger(__name__)

SEAL_FILE = "sha256.json"  # file name -> SHA-256, of every file beside it


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest whole Trainer checkpoint in `folder`, or None where there is none.

    Newest is the one of the most steps, whatever the clock said. A sealed one must match its checksums; one without a seal must at least
    have a readable ``trainer_state.json``, which Trainer writes last. What is passed over is logged as a warning.
    """
    for path in reversed(_checkpoints(folder)):
        if trouble := _trouble(path):
            logger.warning("%s is passed over: %s", path, trouble)
        else:
            return str(path)
    return None


class SealCheckpoints(TrainerCallback):
    """Writes the checksums of each checkpoint when it is whole, and only then lets older ones go.

    In place of ``save_total_limit``, which counts checkpoints without looking whether they are whole.

    Args:
        keep: how many of the newest are kept.
    """

    def __init__(self, keep: int = 1) -> None:
        self.keep = keep

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Seal the checkpoint that has just been written; the first process does it for all."""
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir)
        seal(folder / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")
        for old in _checkpoints(folder)[: -self.keep]:
            shutil.rmtree(old)


def seal(checkpoint: Path) -> None:
    """Write the checksums of every file of a checkpoint, whole or not at all."""
    with replacing(checkpoint / SEAL_FILE) as partial:
        partial.write_text(json.dumps(_checksums(checkpoint), indent=2), encoding="utf-8")


class StopOnInterrupt(TrainerCallback):
    """Ctrl-C, or JupyterLab's stop button, ends the training after the step at work, with a checkpoint. A second one ends it at once.

    Attributes:
        stopped_at: the optimizer step after which it was stopped, or None.
    """

    def __init__(self) -> None:
        self.stopped_at: int | None = None
        self._asked = False
        self._before: object = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Listen from now on. Python hears signals in the main thread only; several processes would not stop at the same step."""
        self.stopped_at, self._asked = None, False
        if threading.current_thread() is threading.main_thread() and args.world_size == 1:
            self._before = signal.signal(signal.SIGINT, self._ask)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Save and stop where that was asked for."""
        if self._asked:
            self.stopped_at = state.global_step
            control.should_save = control.should_training_stop = True

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Listen no more, and say how to go on."""
        self._restore()
        if self.stopped_at is not None:
            checkpoint = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.stopped_at}"
            print(f"Stopped after step {self.stopped_at} of {state.max_steps}; saved {checkpoint}. "
                  f"Go on with trainer.train(resume_from_checkpoint={str(checkpoint)!r})")  # fmt: skip

    def _ask(self, number: int, frame: object) -> None:
        self._asked = True
        self._restore()
        print("Stopping after this step, with a checkpoint; once more stops at once.", flush=True)

    def _restore(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None


def _checkpoints(folder: Path) -> list[Path]:
    numbered = [
        path
        for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        if path.name.rpartition("-")[2].isdigit()
    ]
    return sorted(numbered, key=lambda path: int(path.name.rpartition("-")[2]))


def _trouble(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        if not json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8")):
            return f"its {TRAINER_STATE_NAME} is empty"
    except (OSError, ValueError):
        return "it was cut off while it was written"
    if not (checkpoint / SEAL_FILE).exists():
        return None
    try:
        noted = json.loads((checkpoint / SEAL_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return f"its {SEAL_FILE} is damaged"
    found = _checksums(checkpoint)
    changed = (
        sorted(name for name in {*noted, *found} if noted.get(name) != found.get(name))
        if isinstance(noted, dict)
        else [SEAL_FILE]
    )
    return f"{', '.join(changed)} changed since it was written" if changed else None


def _checksums(checkpoint: Path) -> dict[str, str]:
    sums = {}
    for path in sorted(
        path for path in checkpoint.rglob("*") if path.is_file() and path.name != SEAL_FILE
    ):
        with path.open("rb") as file:
            sums[str(path.relative_to(checkpoint))] = hashlib.file_digest(
                file, "sha256"
            ).hexdigest()
    return sums
