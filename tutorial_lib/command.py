"""How the kit's commands end: a user's mistake is one line on standard error and a status that is not 0."""

import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tutorial_lib.errors import LabError

ELSEWHERE = "give --out a folder that you may write to"
MAKE_ROOM = "free some, or give --out a folder on another disk"
DISK_TROUBLES = {
    errno.ENOSPC: ("no space left on the disk", MAKE_ROOM),
    errno.EDQUOT: ("your share of the disk is used up", MAKE_ROOM),
    errno.EFBIG: ("a file grew larger than the disk or your limit (ulimit -f) allows", MAKE_ROOM),
    errno.EACCES: ("no permission to write", ELSEWHERE),
    errno.EPERM: ("no permission to write", ELSEWHERE),
    errno.EROFS: ("this disk can only be read", ELSEWHERE),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", ELSEWHERE),
    errno.EEXIST: ("a file stands where a folder is to be made", ELSEWHERE),
}


def run_command(main: Callable[[], None]) -> None:
    """Run a command's main function and turn what a user can mend into one line; a bug keeps its traceback."""
    try:
        main()
    except LabError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; what was saved until now is kept")
    except Exception as error:
        number = _disk_error_number(error)
        if number not in DISK_TROUBLES:
            raise
        what, remedy = DISK_TROUBLES[number]
        filename = getattr(error, "filename", None)
        sys.exit(f"error: {what}{f' (writing {filename})' if filename else ''}: {remedy}")


@contextmanager
def without_native_log() -> Iterator[None]:
    """Silence what compiled code writes to standard error meanwhile, such as the start of torch's profiler."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def _disk_error_number(error: Exception) -> int | None:
    """Return the errno behind an error. safetensors tells it in its message only; torch.save's archive writer not at all."""
    if isinstance(error, OSError):
        return error.errno
    if told := re.search(r"\(os error (\d+)\)", str(error)):
        return int(told[1])
    return errno.ENOSPC if "inline_container" in str(error) else None
