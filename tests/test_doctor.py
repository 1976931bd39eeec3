import shutil
import sys
from types import SimpleNamespace

import psutil
import pytest
import torch
from huggingface_hub import constants

from tutorial_lib import doctor, hub, models
from tutorial_lib.doctor import Finding, as_html, as_text, examine


@pytest.fixture(autouse=True)
def silent_hub(monkeypatch):
    """A closed port: the answer comes at once."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def finding(what: str) -> Finding:
    return next(line for line in examine() if line.what == what)


def test_every_red_line_says_how_to_fix_it(monkeypatch, tmp_path):
    monkeypatch.setenv("TUTORIAL_PROFILE", "article")
    monkeypatch.setattr(
        psutil, "virtual_memory", lambda: SimpleNamespace(available=2**30, total=2**31)
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    monkeypatch.setattr(models, "TINYWORLD_BASE", tmp_path)
    red = [line for line in examine() if line.verdict == "fix"]
    assert {line.what for line in red} == {"memory", "disk", "hub", "TinyWorld's base"}
    assert all(line.hint for line in red)


def test_versions_are_those_that_are_imported():
    assert finding("torch").value == torch.__version__
    assert finding("Python").value.split()[0] == ".".join(map(str, sys.version_info[:3]))


def test_a_version_outside_the_courses_range_is_red(monkeypatch):
    monkeypatch.setattr(
        doctor.importlib.metadata,
        "requires",
        lambda name: [f"{package}>=999" for package in doctor.SHOWN_PACKAGES],
    )
    assert finding("transformers").verdict == "fix"
    assert ">=999" in finding("transformers").hint


@pytest.mark.parametrize("name", ["tiny", "fast"])
def test_a_profile_that_ships_with_the_kit_does_not_need_the_hub(monkeypatch, name):
    monkeypatch.setenv("TUTORIAL_PROFILE", name)
    assert "ship with the kit" in finding("profile").hint
    assert finding("hub").verdict == "good"
    assert "http://127.0.0.1:9" in finding("hub").value
    assert "HF_ENDPOINT" in finding("hub").hint


def test_a_model_of_ones_own_needs_the_hub_only_if_it_is_not_a_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("TUTORIAL_MODEL", "somebody/a-model")
    assert finding("hub").verdict == "fix"
    assert "somebody/a-model" in finding("profile").hint
    monkeypatch.setenv("TUTORIAL_MODEL", str(tmp_path))
    assert finding("hub").verdict == "good"


def test_a_hub_that_answers_is_good(monkeypatch):
    from hub_stand_in import serve

    with serve({}) as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.address)
        assert finding("hub").value == f"{running.address} answers"


def test_offline_asks_nobody(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(
        hub.huggingface_hub, "get_session", lambda: pytest.fail("the hub was asked")
    )
    assert "never asked" in finding("hub").value


@pytest.mark.parametrize("name", ["tiny", "fast", "article"])
def test_the_profile_is_named_with_a_reason(monkeypatch, name):
    monkeypatch.setenv("TUTORIAL_PROFILE", name)
    assert finding("profile").value == name
    assert finding("profile").hint


def test_both_tables_say_the_same():
    findings = [Finding("a < b", "1 & 2", "fix", "do this"), Finding("c", "3", "good")]
    text, html = as_text(findings), as_html(findings)
    for part in ("a < b", "1 & 2", "do this", "✗ fix", "✓ good"):
        assert part in text
    for part in ("a &lt; b", "1 &amp; 2", "do this", "✗ fix", "✓ good"):
        assert part in html
    assert html.count("<tr") == 3
