"""Limits that a process sets for itself before it runs a student's code.

On Linux with Landlock (kernel 5.13 or newer), the kernel lets the process read only Python and the
kit, and write only into its own folder; newer kernels also refuse connections and signals to
others (https://docs.kernel.org/userspace-api/landlock.html). On every system, an audit hook
(PEP 578) refuses files, processes, sockets and foreign functions. Native code can get round the
hook: without Landlock it is a fence, not a wall.

Landlock is called by ctypes: it needs neither root nor a container, and its Python packages are
too young to depend on.
"""

import ctypes
import os
import resource
import sys
import sysconfig
from pathlib import Path

MEMORY = 1 << 30  # bytes, beyond what Python and torch use
FILE = 16 << 20  # bytes per file
SECONDS = 20  # of processor time

# Numbers of the system calls, the same on all architectures.
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
EXECUTE, READ_FILE, READ_DIR = 1 << 0, 1 << 2, 1 << 3
READ = EXECUTE | READ_FILE | READ_DIR
RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # version -> number of rights over files it knows
PR_SET_NO_NEW_PRIVS = 38
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache")
DEVICES = ("/dev/null", "/dev/urandom", "/dev/zero")
HARDWARE = ("/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu")
PROCESS_EVENTS = ("subprocess.", "os.fork", "os.exec", "os.posix_spawn", "os.system", "os.kill")
REFUSED_EVENTS = (*PROCESS_EVENTS, "pty.", "socket.", "ctypes.")


class _Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("access", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def confine(folder: Path) -> None:
    """Let this process, for good, read only Python and the kit and write only into `folder`."""
    os.setsid()
    _limit_resources()
    readable = readable_folders()
    if landlock_version():
        _landlock(folder, readable)
    _refuse(folder, readable)


def landlock_version() -> int:
    """Return the kernel's version of Landlock, 0 if it has none."""
    if sys.platform != "linux":
        return 0
    version = ctypes.CDLL(None).syscall(
        LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1)
    )
    return max(0, version)


def readable_folders() -> list[Path]:
    """Return the readable paths: Python, its packages, system libraries and the kit's library.

    The checkout, homes and submissions are not among them.
    """
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    kit = str(Path(__file__).parent.parent)
    names = {*paths, *prefixes, kit, *SYSTEM, *DEVICES, *HARDWARE}
    existing = [Path(path) for path in names if Path(path).exists()]
    return sorted(existing)


def _limit_resources() -> None:
    statm, used = Path("/proc/self/statm"), 8 << 30
    if statm.exists():
        used = int(statm.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    limits = {
        resource.RLIMIT_AS: used + MEMORY,
        resource.RLIMIT_FSIZE: FILE,
        resource.RLIMIT_CPU: SECONDS,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 128,
    }
    for which, limit in limits.items():
        _, hard = resource.getrlimit(which)
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(which, (limit, limit))


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
    # A file can have fewer rights than a folder.
    for path, access in [*((path, READ) for path in readable), (folder, everything)]:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = _PathBeneath(access if path.is_dir() else access & (EXECUTE | READ_FILE), parent)
        added = libc.syscall(
            LANDLOCK_ADD, ruleset, ctypes.c_int(1), ctypes.byref(rule), ctypes.c_uint32(0)
        )
        os.close(parent)
        if added < 0:
            raise OSError(ctypes.get_errno(), f"Landlock refused a rule for {path}")
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.syscall(LANDLOCK_RESTRICT, ruleset, ctypes.c_uint32(0)) < 0:
        raise OSError(ctypes.get_errno(), "Landlock could not be switched on")
    os.close(ruleset)


def _refuse(folder: Path, readable: list[Path]) -> None:
    allowed = [str(path) for path in (folder, *readable)]
    parents = tuple(path.rstrip("/") + "/" for path in allowed)

    def hook(event: str, arguments: tuple) -> None:
        if event.startswith(REFUSED_EVENTS):
            raise PermissionError(f"{event} is not allowed here")
        if event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if path not in allowed and not path.startswith(parents):
                raise PermissionError("this file may not be opened here")

    sys.addaudithook(hook)
