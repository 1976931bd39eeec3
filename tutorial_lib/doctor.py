"""``python -m tutorial_lib.doctor``: what this machine has, what will be slow, what must be mended, and which profile fits.

Nothing is changed and no script is run; the hub is asked once, for at most a few seconds.
"""

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal

import psutil
import torch
from huggingface_hub import constants
from packaging.requirements import Requirement

from tutorial_lib.command import run_command
from tutorial_lib.hub import endpoint_trouble
from tutorial_lib.models import TINYWORLD_BASE, pick_device
from tutorial_lib.profiles import PROFILES, get_profile, runs_dir

DISTRIBUTION = "full-fine-tuning-lab"
SHOWN_PACKAGES = (
    "torch",
    "transformers",
    "datasets",
    "accelerate",
    "jupyterlab",
    "ipywidgets",
    "matplotlib",
)
TINY_MEMORY, TINY_DISK = (
    3.0,
    2.0,
)  # GiB that the `tiny` profile takes at most, notebooks side by side
ARTICLE_GPU_MEMORY = 16.0  # GiB, the article's figure for a batch of 4 x 256 in float32

Verdict = Literal["good", "slow", "mend"]
MARKS = {"good": "✓ good", "slow": "○ will be slow", "mend": "✗ mend"}
# Okabe and Ito's green, orange and vermilion, light enough to read black text on; the mark says the same in words.
BACKGROUNDS = {"good": "#cdeee3", "slow": "#fbe8c0", "mend": "#f6cdb5"}


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's table.

    Attributes:
        what: what was looked at.
        found: what was found.
        verdict: good, slow (it works, with patience) or mend (something does not work until it is mended).
        hint: what it means or what to do; never empty where the verdict is ``mend``.
    """

    what: str
    found: str
    verdict: Verdict
    hint: str = ""


def examine() -> list[Finding]:
    """Look at everything that the course depends on; takes a second, or some five where the hub does not answer."""
    return [
        _python(),
        *_packages(),
        _cores(),
        _memory(),
        _disk(),
        _device(),
        _base_model(),
        _hub(),
        _cache(),
        _profile(),
    ]


def as_text(findings: Sequence[Finding]) -> str:
    """Return the table as text, a line a finding; hints stand below their line."""
    lines = []
    for finding in findings:
        lines.append(f"{MARKS[finding.verdict]:<15} {finding.what:<18} {finding.found}")
        if finding.hint:
            lines.append(f"{'':<15} {'':<18} → {finding.hint}")
    return "\n".join(lines)


def as_html(findings: Sequence[Finding]) -> str:
    """Return the table as HTML, its lines coloured by verdict."""
    rows = "".join(
        f'<tr style="background:{BACKGROUNDS[finding.verdict]};color:black">'
        + "".join(
            f'<td style="text-align:left">{escape(text)}</td>'
            for text in (MARKS[finding.verdict], finding.what, finding.found, finding.hint)
        )
        + "</tr>"
        for finding in findings
    )
    head = "".join(
        f'<th style="text-align:left">{name}</th>'
        for name in ("", "what", "found", "what it means, what to do")
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _python() -> Finding:
    return Finding(
        "Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}", "good"
    )


def _packages() -> list[Finding]:
    wanted = {
        requirement.name: requirement
        for requirement in map(Requirement, importlib.metadata.requires(DISTRIBUTION) or [])
    }
    findings = []
    for name in SHOWN_PACKAGES:
        # torch itself says for which hardware it was built; its package's metadata need not.
        version, range_ = (
            torch.__version__ if name == "torch" else importlib.metadata.version(name),
            wanted[name].specifier,
        )
        fits = range_.contains(version, prereleases=True)
        hint = (
            ""
            if fits
            else f"the course needs {range_}: pip install -c constraints.txt -e . in the course's folder"
        )
        findings.append(Finding(name, version, "good" if fits else "mend", hint))
    return findings


def _cores() -> Finding:
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    if cores == 1:
        return Finding("cores", "1", "slow", "training in 07 may take twice the time that it tells")
    return Finding(
        "cores",
        f"{cores}; torch uses {torch.get_num_threads()} threads",
        "good",
        "keep other programs quiet while 07 trains",
    )


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    free, total = memory.available / 2**30, memory.total / 2**30
    found = f"{free:.1f} of {total:.1f} GiB free"
    if free < TINY_MEMORY:
        return Finding(
            "memory",
            found,
            "mend",
            f"close other programs or notebooks (Kernel > Shut Down All): {TINY_MEMORY:.0f} GiB must be free",
        )
    return Finding("memory", found, "good")


def _disk() -> Finding:
    folder = runs_dir()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free / 2**30
    found = f"{free:.0f} GiB free for {folder.name}/"
    if free < TINY_DISK:
        return Finding(
            "disk",
            found,
            "mend",
            f"free some, or set TUTORIAL_RUNS to a folder on another disk: {TINY_DISK:.0f} GiB must be free",
        )
    return Finding("disk", found, "good")


def _gpu_memory(device: torch.device) -> float | None:
    """GiB of a CUDA device; other accelerators share the machine's memory or do not tell."""
    return (
        torch.cuda.get_device_properties(device).total_memory / 2**30
        if device.type == "cuda"
        else None
    )


def _device() -> Finding:
    device = pick_device()
    if device.type == "cpu":
        return Finding(
            "GPU",
            "none: everything runs on the CPU",
            "slow",
            "fine for the tiny profile; the article's own model needs a GPU",
        )
    memory = _gpu_memory(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    found = f"{name}" + (f", {memory:.0f} GiB" if memory else "")
    if memory and memory < ARTICLE_GPU_MEMORY:
        return Finding(
            "GPU",
            found,
            "good",
            f"fine for tiny; the article's model takes {ARTICLE_GPU_MEMORY:.0f} GiB",
        )
    return Finding("GPU", found, "good")


def _base_model() -> Finding:
    weights = TINYWORLD_BASE / "model.safetensors"
    if not weights.is_file():
        return Finding(
            "TinyWorld's base",
            "missing",
            "mend",
            "the checkout is not whole: git status tells what is gone, git restore brings it back",
        )
    return Finding(
        "TinyWorld's base", f"{weights.stat().st_size / 1e6:.1f} MB, ships with the kit", "good"
    )


def _hub() -> Finding:
    if constants.HF_HUB_OFFLINE:
        return Finding(
            "hub",
            "HF_HUB_OFFLINE is set: it is never asked",
            "good",
            "models and data come from the cache or from folders",
        )
    trouble = endpoint_trouble()
    if trouble is None:
        return Finding("hub", f"{constants.ENDPOINT} answers", "good")
    needed = get_profile().name != "tiny"
    hint = "the tiny profile needs no hub; for another, set HF_ENDPOINT to a mirror before Jupyter starts, or give local folders"
    return Finding("hub", f"{constants.ENDPOINT}: {trouble}", "mend" if needed else "good", hint)


def _cache() -> Finding:
    cache = Path(constants.HF_HUB_CACHE)
    kept = (
        len([folder for folder in cache.glob("*--*") if folder.is_dir()]) if cache.is_dir() else 0
    )
    return Finding(
        "downloads",
        f"{kept} kept in the hub's cache",
        "good",
        "HF_HOME moves the cache to another disk",
    )


def _profile() -> Finding:
    profile, device = get_profile(), pick_device()
    if profile.name == "tiny":
        return Finding(
            "profile",
            "tiny",
            "good",
            "the default: its model and data ship with the kit, no GPU and no network needed",
        )
    memory = _gpu_memory(device)
    if device.type == "cpu" or (memory and memory < ARTICLE_GPU_MEMORY):
        hint = f"{PROFILES['article'].model} takes {ARTICLE_GPU_MEMORY:.0f} GiB of a GPU; without one, unset TUTORIAL_PROFILE"
        return Finding("profile", profile.name, "slow", hint)
    return Finding(
        "profile", profile.name, "good", f"model {profile.model}, data {profile.dataset}"
    )


def main() -> None:
    """Print the table."""
    print(as_text(examine()))


if __name__ == "__main__":
    run_command(main)
