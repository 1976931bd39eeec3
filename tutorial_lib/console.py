"""How the kit's commands end: a user's mistake is one line on standard error and a status that is not 0."""

import errno
import sys
from collections.abc import Callable

from tutorial_lib.errors import LabError


def run_command(main: Callable[[], None]) -> None:
    """Run a command's main function and turn what a user can mend into one line; a bug keeps its traceback."""
    try:
        main()
    except LabError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        sys.exit(f"error: no space left on the disk{_where(error)}: free some, or give --out a folder on another disk")
    except KeyboardInterrupt:
        sys.exit("stopped; what was saved until now is kept")


def _where(error: OSError) -> str:
    return f" (writing {error.filename})" if error.filename else ""
