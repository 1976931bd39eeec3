"""A stand-in for the Hugging Face hub on localhost, which fails where a test wants it to."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """The few routes of the hub that the libraries use, on localhost.

    Attributes:
        repositories: a folder for each ``models/owner/name`` and ``datasets/owner/name``.
        requests: the log of all requests.
        ranges: the first byte of each request for a part of a file.
        failure: if set, the status of every answer.
        cuts: how many answers will break: those that hold more bytes of the file `cut_file` than
            `cut_after` end there, and the connection with them.
    """

    repositories: Mapping[str, Path]
    requests: list[str] = field(default_factory=list)
    ranges: list[int] = field(default_factory=list)
    failure: int | None = None
    cuts: int = 0
    cut_after: int = 0
    cut_file: str = ""
    address: str = ""

    def answer(self, method: str, url: str, body: Mapping) -> tuple[int, dict[str, str], bytes]:
        path = unquote(urlsplit(url).path).strip("/")
        self.requests.append(f"{method} /{path}")
        if self.failure:
            return self.failure, {}, b""
        if path.startswith("api/"):
            return self._describe(path.removeprefix("api/"), body)
        kind = "" if path.startswith("datasets/") else "models/"
        for name, folder in self.repositories.items():
            if f"{kind}{path}".startswith(f"{name}/resolve/"):
                revision, _, file = f"{kind}{path}".removeprefix(f"{name}/resolve/").partition("/")
                return self._file(folder, revision, file)
        return self._missing("RepoNotFound")

    def _describe(self, path: str, body: Mapping) -> tuple[int, dict[str, str], bytes]:
        for name, folder in self.repositories.items():
            if path != name and not path.startswith(f"{name}/"):
                continue
            files = sorted(file for file in folder.rglob("*") if file.is_file())
            entries = {
                str(file.relative_to(folder)): {
                    "type": "file",
                    "oid": self._tag(file),
                    "size": file.stat().st_size,
                }
                for file in files
            }
            rest = path.removeprefix(name).strip("/")
            if rest.startswith("tree/"):
                below = "/".join(rest.split("/")[2:])
                listing = [
                    {"path": entry, **about}
                    for entry, about in entries.items()
                    if entry.startswith(below)
                ]
                return self._json(listing) if listing else self._missing("EntryNotFound")
            if rest.startswith("paths-info/"):
                return self._json(
                    [
                        {"path": entry, **about}
                        for entry, about in entries.items()
                        if entry in body.get("paths", [])
                    ]
                )
            if rest in ("", "revision/main", f"revision/{COMMIT}"):
                owner_and_name = name.partition("/")[2]
                siblings = [{"rfilename": entry} for entry in entries]
                return self._json(
                    {
                        "id": owner_and_name,
                        "modelId": owner_and_name,
                        "sha": COMMIT,
                        "private": False,
                        "siblings": siblings,
                    }
                )
            return self._missing("EntryNotFound")
        return self._missing("RepoNotFound")

    def _file(self, folder: Path, revision: str, name: str) -> tuple[int, dict[str, str], bytes]:
        if revision not in ("main", COMMIT):
            return self._missing("RevisionNotFound")
        if not (folder / name).is_file():
            return self._missing("EntryNotFound")
        headers = {
            "ETag": f'"{self._tag(folder / name)}"',
            "X-Repo-Commit": COMMIT,
            "Content-Type": "application/octet-stream",
        }
        return 200, headers, (folder / name).read_bytes()

    def _json(self, content: object) -> tuple[int, dict[str, str], bytes]:
        return 200, {"Content-Type": "application/json"}, json.dumps(content).encode()

    def _missing(self, code: str) -> tuple[int, dict[str, str], bytes]:
        return 404, {"X-Error-Code": code, "X-Repo-Commit": COMMIT}, b""

    def _tag(self, file: Path) -> str:
        return sha1(file.read_bytes()).hexdigest()


class HubHandler(BaseHTTPRequestHandler):
    """Passes each request on to a Hub."""

    protocol_version = "HTTP/1.1"

    def __init__(self, hub: Hub, *args: object) -> None:
        self.hub = hub
        super().__init__(*args)

    def handle_request(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(sent) if sent.startswith(b"{") else {}
        status, headers, content = self.hub.answer(self.command, self.path, body)
        if status == 200 and (wanted := self.headers.get("Range")):
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            self.hub.ranges.append(start)
            status, headers = (
                206,
                {**headers, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"},
            )
            content = content[start:]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if (
            self.hub.cuts
            and self.path.endswith(self.hub.cut_file)
            and len(content) > self.hub.cut_after
        ):
            self.hub.cuts -= 1
            self.close_connection = True
            content = content[: self.hub.cut_after]
        self.wfile.write(content)

    do_GET = do_HEAD = do_POST = handle_request

    def log_message(self, *args: object) -> None:
        """Say nothing: pytest shows what went wrong."""


@contextmanager
def serve(repositories: Mapping[str, Path]) -> Iterator[Hub]:
    """Run a stand-in on a free port until the block ends."""
    hub = Hub(repositories)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(HubHandler, hub))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
