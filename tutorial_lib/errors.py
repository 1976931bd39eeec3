"""What can go wrong for a user of the kit: each message says what, where, and what to do."""

from collections.abc import Sequence


class LabError(Exception):
    """A mistake that a user can fix; a command prints its one line and exits with status 1."""


class ProfileError(LabError):
    """A profile or a setting that does not exist."""


class DataError(LabError):
    """An instruction data set that can't be found, read or used."""


class RowError(DataError, ValueError):
    """A row that can't be used; the message names the row (where known) and the column."""


class NoSupervisedTokenError(RowError):
    """A row whose prompt fills the whole length, so that no target is left."""


class NotFiniteError(LabError):
    """A training whose loss or gradient is nan or infinite."""


class InterruptedTrainingError(LabError):
    """A training that was stopped by hand and saved; the message says how to go on."""


class ModelError(LabError):
    """A model or tokenizer that can't be found, read or used."""


class HubUnreachableError(LabError):
    """A model or data set is not on this machine and the hub can't be reached."""


class ProcessesError(LabError):
    """Processes that are not as many as asked for, or can't share the work."""


class OutputError(LabError):
    """An output folder that can't be written, or must not be overwritten."""


def listed_rows(numbers: Sequence[int]) -> str:
    """Return the first ten row numbers for a message: ``"3, 17"`` or ``"0, 1, …"``."""
    return ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")
