import shutil
import sys
from types import SimpleNamespace

import psutil
import pytest
import torch
from huggingface_hub import constants

from tutorial_lib import doctor, hub
from tutorial_lib.doctor import Finding, as_html, as_text, examine


@pytest.fixture(autouse=True)
def silent_hub(monkeypatch):
    """A closed port: the answer comes at once."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def finding(what: str) -> Finding:
    return next(line for line in examine() if line.what == what)


def test_every_red_line_says_how_to_mend_it(monkeypatch, tmp_path):
    monkeypatch.setenv("TUTORIAL_PROFILE", "article")
    monkeypatch.setattr(
        psutil, "virtual_memory", lambda: SimpleNamespace(available=2**30, total=2**31)
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    monkeypatch.setattr(doctor, "TINYWORLD_BASE", tmp_path)
    red = [line for line in examine() if line.verdict == "mend"]
    assert {line.what for line in red} == {"memory", "disk", "hub", "TinyWorld's base"}
    assert all(line.hint for line in red)


def test_versions_are_those_that_are_imported():
    assert finding("torch").found == torch.__version__
    assert finding("Python").found.split()[0] == ".".join(map(str, sys.version_info[:3]))


def test_a_version_outside_the_courses_range_is_red(monkeypatch):
    monkeypatch.setattr(
        doctor.importlib.metadata,
        "requires",
        lambda name: [f"{package}>=999" for package in doctor.SHOWN_PACKAGES],
    )
    assert finding("transformers").verdict == "mend"
    assert ">=999" in finding("transformers").hint


def test_the_tiny_profile_does_not_mind_that_the_hub_is_away():
    assert finding("hub").verdict == "good"
    assert "http://127.0.0.1:9" in finding("hub").found
    assert "HF_ENDPOINT" in finding("hub").hint


def test_a_hub_that_answers_is_good(monkeypatch):
    from hub_stand_in import serve

    with serve({}) as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.address)
        assert finding("hub").found == f"{running.address} answers"


def test_offline_asks_nobody(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(
        hub.huggingface_hub, "get_session", lambda: pytest.fail("the hub was asked")
    )
    assert "never asked" in finding("hub").found


@pytest.mark.parametrize("name", ["tiny", "article"])
def test_the_profile_is_named_with_a_reason(monkeypatch, name):
    monkeypatch.setenv("TUTORIAL_PROFILE", name)
    assert finding("profile").found == name
    assert finding("profile").hint


def test_both_tables_say_the_same():
    findings = [Finding("a < b", "1 & 2", "mend", "do this"), Finding("c", "3", "good")]
    text, html = as_text(findings), as_html(findings)
    for part in ("a < b", "1 & 2", "do this", "✗ mend", "✓ good"):
        assert part in text
    for part in ("a &lt; b", "1 &amp; 2", "do this", "✗ mend", "✓ good"):
        assert part in html
    assert html.count("<tr") == 3
