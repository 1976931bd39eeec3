"""Find a model or data set on this machine or on the hub, and explain why it can't be loaded."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from tutorial_lib.errors import DataError, HubUnreachableError, LabError, ModelError

Kind = Literal["model", "dataset"]
NOUNS = {"model": "model", "dataset": "data set"}
ERRORS = {"model": ModelError, "dataset": DataError}
# A file that every repository of this kind has: is it in the cache?
MARKER = {"model": "config.json", "dataset": "README.md"}
PROBE_TIMEOUT = 5.0  # seconds until a hub that does not answer counts as unreachable
# The HTTP libraries of the different versions of huggingface_hub.
HTTP_LIBRARIES = ("httpx", "httpx2", "httpcore", "httpcore2")


def locate(source: str, kind: Kind) -> str | Path:
    """Return the path of `source` on this machine, or its hub id if it can be loaded now.

    A hub id must be in the local cache, or the hub must answer and have it. Without this check
    the libraries retry for minutes before they report that there is no network.

    Raises:
        ModelError, DataError: neither this machine nor the hub has it.
        HubUnreachableError: not cached, and the hub does not answer within ``PROBE_TIMEOUT``
            seconds (or ``HF_HUB_OFFLINE`` is set).
    """
    missing = f"no {NOUNS[kind]} {source!r}: there is no such file or folder"
    if _looks_like_path(source):
        path = Path(source).expanduser()
        if not path.exists():
            raise ERRORS[kind](f"{missing}; check the path (`pwd` tells where you are)")
        return path
    cached = huggingface_hub.try_to_load_from_cache(source, MARKER[kind], repo_type=kind)
    if isinstance(cached, str):
        return source
    if constants.HF_HUB_OFFLINE:
        raise _unreachable(source, kind, "HF_HUB_OFFLINE is set and it is not in the cache")
    try:
        huggingface_hub.HfApi().repo_info(source, repo_type=kind, timeout=PROBE_TIMEOUT)
    except RepositoryNotFoundError:
        message = f"{missing} here, and the hub has no such repository; check the spelling"
        raise ERRORS[kind](message) from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no status"
        raise _unreachable(source, kind, f"{constants.ENDPOINT} answered {status}") from None
    except Exception as error:  # whatever the HTTP library raises for no route, no name, no answer
        reason = f"{constants.ENDPOINT} can't be reached ({type(error).__name__})"
        raise _unreachable(source, kind, reason) from None
    return source


@contextmanager
def explaining(source: str, kind: Kind, part: str | None = None) -> Iterator[None]:
    """Turn what the libraries raise while they load `source` into one line that names it.

    Args:
        part: what is loaded, e.g. ``"weights"`` of a model.

    Raises:
        ModelError, DataError: it can't be loaded.
        HubUnreachableError: the connection broke.
    """
    try:
        yield
    except LabError:
        raise
    except Exception as error:
        whole = f"{source!r} can't be read as a {NOUNS[kind]}"
        problem = f"the {part} of {source!r} can't be loaded" if part else whole
        # `datasets` wraps the error that tells the reason; `transformers` adds the reason itself.
        cause = error.__cause__ if kind == "dataset" and error.__cause__ else error
        first_line = (str(cause).strip() or "no message").splitlines()[0]
        explanation = ERRORS[kind](f"{problem}: {type(cause).__name__}: {first_line}")
        raise connection_error(error, source, kind) or explanation from error


def connection_error(error: BaseException, source: str, kind: Kind) -> HubUnreachableError | None:
    """If a broken connection caused `error`, return a HubUnreachableError to raise, else None.

    The libraries wrap it in an error of their own, which then speaks of missing files.
    """
    cause: BaseException | None = error
    while cause is not None:
        library = type(cause).__module__.partition(".")[0]
        if isinstance(cause, ConnectionError | TimeoutError) or library in HTTP_LIBRARIES:
            broke = f"the connection to {constants.ENDPOINT} broke ({type(cause).__name__})"
            return _unreachable(source, kind, f"{broke}; the part that arrived is kept")
        cause = cause.__cause__ or cause.__context__
    return None


def endpoint_problem(timeout: float = PROBE_TIMEOUT) -> str | None:
    """Send the hub one request; return None if it answers, else what went wrong, in few words."""
    try:
        huggingface_hub.get_session().head(constants.ENDPOINT, timeout=timeout)
    except Exception as error:  # whatever the HTTP library raises for no route, no name, no answer
        return f"can't be reached ({type(error).__name__})"
    return None


def _looks_like_path(source: str) -> bool:
    """A hub id is ``name`` or ``owner/name``, without a leading dot, slash or tilde."""
    marked = source.startswith((".", "/", "~", os.sep)) or "\\" in source
    return marked or source.count("/") > 1 or Path(source).exists()


def _unreachable(source: str, kind: Kind, reason: str) -> HubUnreachableError:
    noun = NOUNS[kind]
    return HubUnreachableError(
        f"{noun} {source!r} can't be loaded: {reason}. Three ways on: (1) a mirror: set "
        f"HF_ENDPOINT to its address; (2) a local folder: copy the {noun} from a machine that has "
        f"it and give its path (--{kind} DIR, or TUTORIAL_{kind.upper()}=DIR for a notebook); "
        f"(3) the profile that needs no network: TUTORIAL_PROFILE=tiny"
    )
