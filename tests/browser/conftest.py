"""The real JupyterLab, driven in a real Chromium.

Without Chromium or Playwright these tests are skipped, unless BROWSER_REQUIRED=1 (as in
`make browser-test`). Screenshots are in ``runs/browser``.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from noto_cjk_sans_otc import FONT_PATH

ROOT = Path(__file__).parent.parent.parent
# No news, no updates: a test uses no network. All cells are in the page, also those out of sight.
SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
}
# Chromium sees the course's own Chinese font, as a learner's desktop has one.
FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
<include ignore_missing="yes">/etc/fonts/fonts.conf</include>
<dir>{folder}</dir><cachedir>{cache}</cachedir>
</fontconfig>
"""


def _missing(reason: str) -> None:
    if os.environ.get("BROWSER_REQUIRED") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """Chromium, without a window."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        _missing("no Chromium found: install it, or set CHROMIUM to its path")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("Playwright is not installed: pip install -e '.[dev]'")
    folder = tmp_path_factory.mktemp("fonts")
    (folder / "fonts.conf").write_text(
        FONTS.format(folder=Path(FONT_PATH).parent, cache=folder / "cache"), encoding="utf-8"
    )
    quiet = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=path,
            args=quiet,
            env={**os.environ, "FONTCONFIG_FILE": str(folder / "fonts.conf")},
        )
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser) -> Iterator:
    """An empty page; a module may have another."""
    page = browser.new_page(viewport={"width": 1150, "height": 1400})
    page.set_default_timeout(60_000)
    yield page
    page.close()


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab.

    Attributes:
        url: where it listens.
        folder: what it shows; copies of the notebooks are in it.
    """

    url: str
    folder: Path


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, own_runs_folder: Path) -> Iterator[Lab]:
    """JupyterLab with settings of its own, on copies of the notebooks."""
    folder, config = tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("config")
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, folder)
    for name, content in SETTINGS.items():
        path = config / "settings" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "JUPYTER_CONFIG_DIR": str(config / "jupyter"),
        "JUPYTERLAB_SETTINGS_DIR": str(config / "settings"),
        # Models of an earlier run of the notebooks, if there are any.
        "TUTORIAL_RUNS": os.environ.get("BROWSER_RUNS") or str(own_runs_folder),
    }
    options = [
        "--no-browser",
        "--allow-root",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=",
        f"--port={port}",
    ]
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyter", "lab", *options, f"--ServerApp.root_dir={folder}"],
            env={**os.environ, **settings},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(f"{url}/api", server, folder / "lab.log")
        yield Lab(url, folder)
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait_for(url: str, server: subprocess.Popen, log: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2)
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text(encoding='utf-8')[-2000:]}")
