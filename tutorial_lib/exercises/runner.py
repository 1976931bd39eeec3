"""Runs a student's code in a process of its own, and brings back nothing but plain data.

The process is forked from a server that has imported torch and nothing else, so that there is nothing to find in its memory, and is
confined (see ``sandbox``) before it sees the code. Inputs go in, answers come out; what they should be stays here.
"""

import builtins
import contextlib
import io
import json
import multiprocessing
import os
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from ctypes import CDLL
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from tutorial_lib.exercises import sandbox
from tutorial_lib.exercises.plain import NotPlainError, to_plain
from tutorial_lib.exercises.task import NOT_PLAIN, NOT_THERE, TAKEN_APART, Answer, Outcome

A_TASK = 8.0  # seconds for all calls of a task
A_CELL = 2.0  # seconds for a cell or a call
LARGEST_REPLY = 8 << 20  # bytes
BECOME_REAPER = (
    36  # prctl: orphans among our descendants become our children, where they are found and ended
)


class Runner:
    """Runs one task after the other; use it as a context."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["torch", "tutorial_lib.exercises.runner"])

    def __enter__(self) -> "Runner":
        if hasattr(os, "setsid") and Path("/proc").exists():
            CDLL(None).prctl(BECOME_REAPER, 1, 0, 0, 0)
        first = self._context.Process(target=nothing, daemon=True)
        first.start()  # starts the servers that all later processes come from
        first.join()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the servers: they serve the next runner, and end with this process."""

    def run(
        self,
        function: str,
        code: str,
        helpers: Sequence[str],
        arguments: Sequence[Sequence[object]],
    ) -> Outcome:
        """Define `function` by `code`, call it with each of `arguments`, and return the answers.

        Args:
            function: the name that is called.
            code: the student's cell.
            helpers: the student's other cells, run before it; one that fails is passed over.
            arguments: plain data.
        """
        folder = Path(tempfile.mkdtemp(prefix="task-"))
        ours, theirs = self._context.Pipe(duplex=False)
        before = _descendants()
        job = {
            "function": function,
            "code": code,
            "helpers": list(helpers),
            "arguments": [list(each) for each in arguments],
        }
        process = self._context.Process(
            target=work, args=(theirs, str(folder), json.dumps(job)), daemon=True
        )
        try:
            process.start()
            theirs.close()
            return _read(ours)
        finally:
            ours.close()
            # The task's process and whatever it has started, orphans too.
            left = [process for pid, process in _descendants().items() if pid not in before]
            for descendant in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    descendant.kill()
            psutil.wait_procs(left, timeout=3)
            shutil.rmtree(folder, ignore_errors=True)


def _descendants() -> dict[int, psutil.Process]:
    return {process.pid: process for process in psutil.Process().children(recursive=True)}


def nothing() -> None:
    """Do nothing; the first process that is started does it."""


def work(reply: Connection, folder: str, job: str) -> None:
    """What the confined process does."""
    os.chdir(folder)
    with Path(os.devnull).open("r+b") as nothing:
        for descriptor in (0, 1, 2):
            os.dup2(nothing.fileno(), descriptor)
    # The server's own pipes are inherited, and whoever writes into them ends it.
    os.closerange(3, reply.fileno())
    os.closerange(reply.fileno() + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    os.environ.clear()
    os.environ["HOME"] = os.environ["TMPDIR"] = folder
    task = json.loads(job)
    sandbox.confine(Path(folder))
    reply.send_bytes(json.dumps(_answers(task)).encode())


def _answers(task: dict) -> dict:
    namespace: dict[str, object] = {"__name__": "__main__"}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for source in [*task["helpers"], task["code"]]:
            with contextlib.suppress(BaseException), _time_limit():
                exec(compile(source, "<submission>", "exec"), namespace)
        function = namespace.get(task["function"])
        if not callable(function):
            return {"answers": None}
        return {"answers": [_one(function, arguments) for arguments in task["arguments"]]}


def _one(function: object, arguments: list) -> dict:
    try:
        with _time_limit():
            return {"value": to_plain(function(*arguments))}
    except NotPlainError:
        return {"error": NOT_PLAIN}
    except BaseException as error:
        # The kind alone: a message could carry the input back to the student.
        name = type(error).__name__
        return {"error": name if hasattr(builtins, name) else "an error of its own"}


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, A_CELL)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _read(reply: Connection) -> Outcome:
    end = time.monotonic() + A_TASK
    try:
        if not reply.poll(max(0.0, end - time.monotonic())):
            return Outcome(trouble=TAKEN_APART)
        told = json.loads(reply.recv_bytes(LARGEST_REPLY))
        if told["answers"] is None:
            return Outcome(trouble=NOT_THERE)
        return Outcome(
            [Answer(each.get("value"), _error_name(each.get("error"))) for each in told["answers"]]
        )
    except (EOFError, OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Outcome(trouble=TAKEN_APART)


def _error_name(name: object) -> str | None:
    """A confined process may send anything; only the names of Python's own errors are passed on."""
    if name is None:
        return None
    known = (
        isinstance(name, str)
        and isinstance(getattr(builtins, name, None), type)
        and issubclass(getattr(builtins, name), BaseException)
    )
    return name if known or name == NOT_PLAIN else "an error of its own"
