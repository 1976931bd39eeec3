"""Run a student's code in a process of its own; nothing but plain data comes back.

The process is forked from a server that has imported torch and nothing else: its memory holds
nothing worth finding. It is confined (see ``sandbox``) before it sees the code. Inputs go in,
answers come out; the expected answers stay here.
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
import sys
import tempfile
from collections.abc import Iterator, Sequence
from ctypes import CDLL
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

import psutil

from tutorial_lib.exercises import sandbox
from tutorial_lib.exercises.plain import NotPlainError, to_plain
from tutorial_lib.exercises.task import NO_REPLY, NOT_THERE, UNSUPPORTED_TYPE, Answer, Outcome

TASK_SECONDS = 8.0  # for all calls of a task
CELL_SECONDS = 2.0  # for one cell or one call
LARGEST_REPLY = 8 << 20  # bytes
OTHER_ERROR = "an error of its own"  # for errors that are not Python's
PR_SET_CHILD_SUBREAPER = 36  # prctl: orphans among our descendants become our children


def run_task(
    function: str, code: str, helpers: Sequence[str], arguments: Sequence[Sequence[object]]
) -> Outcome:
    """Define `function` by `code`, call it with each of `arguments`, and return the answers.

    Args:
        function: its name.
        code: the student's cell.
        helpers: the student's other cells, run before it; their errors are ignored.
        arguments: plain data, one sequence per call.
    """
    context = _start_server()
    folder = tempfile.mkdtemp(prefix="task-")
    receiver, sender = context.Pipe(duplex=False)
    before = _descendants()
    calls = [list(each) for each in arguments]
    job = json.dumps({"function": function, "sources": [*helpers, code], "calls": calls})
    process = context.Process(target=work, args=(sender, folder, job), daemon=True)
    try:
        process.start()
        sender.close()
        return _read(receiver)
    finally:
        receiver.close()
        # The task's process and all that it has started, orphans too.
        left = [process for pid, process in _descendants().items() if pid not in before]
        for descendant in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                descendant.kill()
        psutil.wait_procs(left, timeout=3)
        shutil.rmtree(folder, ignore_errors=True)


@cache
def _start_server() -> ForkServerContext:
    """Start the fork server, once: it ends with this process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", __name__])
    if sys.platform == "linux":
        CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    first = context.Process(target=warm_up, daemon=True)
    first.start()
    first.join()
    return context


def warm_up() -> None:
    """No-op job; starting it launches the fork server."""


def _descendants() -> dict[int, psutil.Process]:
    return {process.pid: process for process in psutil.Process().children(recursive=True)}


def work(sender: Connection, folder: str, job: str) -> None:
    """Confine this process, run a job in it and send the answers: the process's main function."""
    os.chdir(folder)
    with Path(os.devnull).open("r+b") as null:
        for descriptor in (0, 1, 2):
            os.dup2(null.fileno(), descriptor)
    # The fork server's own pipes are inherited, and writing into them would end it.
    os.closerange(3, sender.fileno())
    os.closerange(sender.fileno() + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    os.environ.clear()
    os.environ["HOME"] = os.environ["TMPDIR"] = folder
    task = json.loads(job)
    sandbox.confine(Path(folder))
    sender.send_bytes(json.dumps(_answers(task)).encode())


def _answers(task: dict) -> dict:
    namespace: dict[str, object] = {"__name__": "__main__"}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for source in task["sources"]:
            with contextlib.suppress(BaseException), _time_limit():
                exec(compile(source, "<submission>", "exec"), namespace)
        function = namespace.get(task["function"])
        if not callable(function):
            return {"answers": None}
        return {"answers": [_call(function, arguments) for arguments in task["calls"]]}


def _call(function: object, arguments: list) -> dict:
    try:
        with _time_limit():
            return {"value": to_plain(function(*arguments))}
    except NotPlainError:
        return {"error": UNSUPPORTED_TYPE}
    except BaseException as error:
        # The type alone: a message could carry the input back to the student.
        name = type(error).__name__
        return {"error": name if hasattr(builtins, name) else OTHER_ERROR}


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, CELL_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _read(receiver: Connection) -> Outcome:
    try:
        if not receiver.poll(TASK_SECONDS):
            return Outcome(trouble=NO_REPLY)
        answers = json.loads(receiver.recv_bytes(LARGEST_REPLY))["answers"]
        if answers is None:
            return Outcome(trouble=NOT_THERE)
        return Outcome([Answer(a.get("value"), _error_name(a.get("error"))) for a in answers])
    except (EOFError, OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Outcome(trouble=NO_REPLY)


def _error_name(name: object) -> str | None:
    """Let the names of Python's own errors through: a confined process may send anything."""
    if name is None or name == UNSUPPORTED_TYPE:
        return name
    error = getattr(builtins, name, None) if isinstance(name, str) else None
    known = isinstance(error, type) and issubclass(error, BaseException)
    return name if known else OTHER_ERROR
