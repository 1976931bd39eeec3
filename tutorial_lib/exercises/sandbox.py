"""Limits for the process that runs a student's code, set by that process itself before the first line of it.

On Linux with Landlock (kernel 5.13 or newer) the kernel keeps the process from reading anything but Python and the kit, and from writing
anywhere but into its own folder; newer kernels also from connecting and from signalling others
(https://docs.kernel.org/userspace-api/landlock.html). Everywhere, a hook of Python's own (PEP 578) refuses files, processes, sockets and
foreign functions; native code can get round it, so that without Landlock it is a fence, not a wall.
"""

import ctypes
import os
import resource
import sys
import sysconfig
from pathlib import Path

MEMORY = 1 << 30  # bytes on top of what Python and torch take
FILE = 16 << 20  # bytes of a file
SECONDS = 20  # of computing

LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = (
    444,
    445,
    446,
)  # system calls, the same on all architectures
EXECUTE, READ_FILE, READ_DIR = 1 << 0, 1 << 2, 1 << 3
READ = EXECUTE | READ_FILE | READ_DIR
RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # version -> how many rights over files it knows
SYSTEM = (
    "/usr",
    "/lib",
    "/lib64",
    "/bin",
    "/etc/ld.so.cache",
    "/dev/null",
    "/dev/urandom",
    "/dev/zero",
    "/proc/cpuinfo",
    "/proc/meminfo",
)
REFUSED = (
    "socket.",
    "subprocess.",
    "os.fork",
    "os.exec",
    "os.posix_spawn",
    "os.system",
    "os.kill",
    "ctypes.",
    "pty.",
)


class _Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("access", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def confine(folder: Path) -> None:
    """Confine this process, for good, to reading Python and the kit and to writing into `folder`."""
    os.setsid()
    _limit_resources()
    readable = readable_folders()
    if landlock_version():
        _landlock(folder, readable)
    _refuse(folder, readable)


def landlock_version() -> int:
    """Return the kernel's version of Landlock, 0 where there is none."""
    if sys.platform != "linux":
        return 0
    return max(
        0, ctypes.CDLL(None).syscall(LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    )


def readable_folders() -> list[Path]:
    """Return what may be read: Python, its packages, the system's libraries and the kit's library; no checkout, no home, no submission."""
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    kit = str(Path(__file__).parent.parent)
    return [
        Path(path)
        for path in sorted({*paths, *prefixes, kit, *SYSTEM, "/sys/devices/system/cpu"})
        if Path(path).exists()
    ]


def _limit_resources() -> None:
    taken = (
        int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        if Path("/proc/self/statm").exists()
        else 8 << 30
    )
    for which, limit in [
        (resource.RLIMIT_AS, taken + MEMORY),
        (resource.RLIMIT_FSIZE, FILE),
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 128),
    ]:
        _, hard = resource.getrlimit(which)
        resource.setrlimit(
            which,
            (limit, limit) if hard == resource.RLIM_INFINITY or limit < hard else (hard, hard),
        )


def _landlock(folder: Path, readable: list[Path]) -> None:
    libc, version = ctypes.CDLL(None, use_errno=True), landlock_version()
    everything = (1 << RIGHTS.get(version, 16)) - 1
    rules = _Ruleset(everything, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = libc.syscall(
        LANDLOCK_CREATE, ctypes.byref(rules), ctypes.c_size_t(size), ctypes.c_uint32(0)
    )
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "Landlock refused the rules")
    # What a file can be allowed is less than what a folder can.
    for path, access in [*((path, READ) for path in readable), (folder, everything)]:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = _PathBeneath(access if path.is_dir() else access & (EXECUTE | READ_FILE), parent)
        added = libc.syscall(
            LANDLOCK_ADD, ruleset, ctypes.c_int(1), ctypes.byref(rule), ctypes.c_uint32(0)
        )
        os.close(parent)
        if added < 0:
            raise OSError(ctypes.get_errno(), f"Landlock refused a rule for {path}")
    set_no_new_privileges = 38
    libc.prctl(set_no_new_privileges, 1, 0, 0, 0)
    if libc.syscall(LANDLOCK_RESTRICT, ruleset, ctypes.c_uint32(0)) < 0:
        raise OSError(ctypes.get_errno(), "Landlock could not be switched on")
    os.close(ruleset)


def _refuse(folder: Path, readable: list[Path]) -> None:
    allowed = tuple(f"{path}" for path in [folder, *readable])

    def hook(event: str, arguments: tuple) -> None:
        if event.startswith(REFUSED):
            raise PermissionError(f"{event} is not allowed here")
        if event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if not any(
                path == place or path.startswith(place.rstrip("/") + "/") for place in allowed
            ):
                raise PermissionError("this file may not be opened here")

    sys.addaudithook(hook)
