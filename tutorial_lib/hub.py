"""Find a model or data set: a folder on this machine, something the kit ships, or an id on the hub."""

import os
from pathlib import Path
from typing import Literal

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from tutorial_lib.errors import DataError, HubUnreachableError, LabError, ModelError

PROBE_TIMEOUT = 5.0  # seconds until a hub that does not answer counts as unreachable
HTTP_LIBRARIES = (
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
)  # what huggingface_hub has spoken with, by version
# A file that every repository of this kind has: is it in the cache?
MARKER = {"model": "config.json", "dataset": "README.md"}


def require_reachable(repo_id: str, repo_type: Literal["model", "dataset"]) -> None:
    """Return if `repo_id` can be loaded: it is in the local cache, or the hub answers and has it.

    Without this check the libraries retry for minutes before they say that there is no network.

    Raises:
        HubUnreachableError: not cached, and the hub does not answer within ``PROBE_TIMEOUT`` seconds (or ``HF_HUB_OFFLINE`` is set).
        ModelError, DataError: the hub answers and has no such repository.
    """
    if _is_cached(repo_id, repo_type):
        return
    if constants.HF_HUB_OFFLINE:
        raise _unreachable(repo_id, repo_type, "HF_HUB_OFFLINE is set and it is not in the cache")
    try:
        huggingface_hub.HfApi().repo_info(repo_id, repo_type=repo_type, timeout=PROBE_TIMEOUT)
    except RepositoryNotFoundError:
        raise not_found(repo_id, repo_type) from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no status"
        raise _unreachable(repo_id, repo_type, f"{constants.ENDPOINT} answered {status}") from None
    except Exception as error:  # whatever the HTTP library raises for no route, no name, no answer
        raise _unreachable(
            repo_id, repo_type, f"{constants.ENDPOINT} can't be reached ({type(error).__name__})"
        ) from None


def endpoint_trouble(timeout: float = PROBE_TIMEOUT) -> str | None:
    """Ask the hub's address for a sign of life; return None where it gives one, else what went wrong, in a few words."""
    try:
        huggingface_hub.get_session().head(constants.ENDPOINT, timeout=timeout)
    except Exception as error:  # whatever the HTTP library raises for no route, no name, no answer
        return f"can't be reached ({type(error).__name__})"
    return None


def cut_off(
    error: BaseException, repo_id: str, repo_type: Literal["model", "dataset"]
) -> HubUnreachableError | None:
    """Return the error to raise where `error` goes back to a connection that broke, else None.

    The libraries wrap it in an error of their own, which then speaks of files that are missing.
    """
    seen: BaseException | None = error
    while seen is not None:
        if (
            isinstance(seen, ConnectionError | TimeoutError)
            or type(seen).__module__.partition(".")[0] in HTTP_LIBRARIES
        ):
            return _unreachable(
                repo_id,
                repo_type,
                f"the connection to {constants.ENDPOINT} broke ({type(seen).__name__}); what has arrived is kept",
            )
        seen = seen.__cause__ or seen.__context__
    return None


def looks_like_folder(source: str) -> bool:
    """Tell a path from a hub id: a hub id is ``name`` or ``owner/name``, without a leading dot, slash or tilde."""
    return (
        source.startswith((".", "/", "~", os.sep))
        or source.count("/") > 1
        or "\\" in source
        or Path(source).exists()
    )


def not_found(source: str, kind: Literal["model", "dataset"]) -> LabError:
    """Return the error for a source that is neither a folder here nor a repository on the hub."""
    what = "model" if kind == "model" else "data set"
    error = ModelError if kind == "model" else DataError
    return error(
        f"no {what} {source!r}: there is no such folder here, and the hub has no such repository; check the spelling"
    )


def _is_cached(repo_id: str, repo_type: str) -> bool:
    return isinstance(
        huggingface_hub.try_to_load_from_cache(repo_id, MARKER[repo_type], repo_type=repo_type), str
    )


def _unreachable(repo_id: str, repo_type: str, reason: str) -> HubUnreachableError:
    what = "model" if repo_type == "model" else "data set"
    option = "--model" if repo_type == "model" else "--dataset"
    return HubUnreachableError(
        f"{what} {repo_id!r} can't be loaded: {reason}. Three ways on: (1) a mirror: set HF_ENDPOINT to its address; "
        f"(2) a local folder: copy the {what} from a machine that has it and give its path ({option} DIR, or "
        f"TUTORIAL_{repo_type.upper()}=DIR for a notebook); (3) the profile that needs no network: TUTORIAL_PROFILE=tiny"
    )
