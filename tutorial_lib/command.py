"""How the kit's commands end: a user's mistake is one line on standard error, and a status."""

import errno
import re
import sys
from collections.abc import Callable

from tutorial_lib.errors import LabError

_ELSEWHERE = "give --out a folder that you may write to"
_MAKE_ROOM = "free some, or give --out a folder on another disk"
DISK_PROBLEMS = {
    errno.ENOSPC: f"no space left on the disk: {_MAKE_ROOM}",
    errno.EDQUOT: f"your share of the disk is used up: {_MAKE_ROOM}",
    errno.EFBIG: f"a file is larger than the disk or your limit (ulimit -f) allows: {_MAKE_ROOM}",
    errno.EACCES: f"no permission to write: {_ELSEWHERE}",
    errno.EPERM: f"no permission to write: {_ELSEWHERE}",
    errno.EROFS: f"this disk can only be read: {_ELSEWHERE}",
    errno.ENOTDIR: f"a part of the path is a file, not a folder: {_ELSEWHERE}",
    errno.EEXIST: f"a file is where a folder must be made: {_ELSEWHERE}",
}


def run_command(main: Callable[[], None]) -> None:
    """Run a command; what a user can fix is one line, a bug keeps its traceback."""
    try:
        main()
    except LabError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; what was saved until now is kept")
    except Exception as error:
        problem = DISK_PROBLEMS.get(_disk_error_number(error))
        if problem is None:
            raise
        filename = getattr(error, "filename", None)
        what, remedy = problem.split(": ", 1)
        sys.exit(f"error: {what}{f' (writing {filename})' if filename else ''}: {remedy}")


def _disk_error_number(error: Exception) -> int | None:
    """Return the errno behind an error.

    safetensors names it in its message only; the archive writer of ``torch.save`` not at all.
    """
    if isinstance(error, OSError):
        return error.errno
    if match := re.search(r"\(os error (\d+)\)", str(error)):
        return int(match[1])
    return errno.ENOSPC if "inline_container" in str(error) else None
