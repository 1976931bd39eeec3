"""``python -m tutorial_lib.doctor``: what this machine has, what will be slow, what must be fixed.

Nothing is changed and no script is run; the hub is asked once, for at most a few seconds.
"""

import argparse
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tutorial_lib.command import run_command
from tutorial_lib.profiles import PROFILES, TINYWORLD, get_profile, runs_dir
from tutorial_lib.show.tables import html_table

DISTRIBUTION = "full-fine-tuning-lab"
LIBRARIES = ("torch", "transformers", "datasets", "accelerate")
SHOWN_PACKAGES = (*LIBRARIES, "jupyterlab", "ipywidgets", "matplotlib")
TINY_MEMORY, TINY_DISK = 3.0, 2.0  # GiB that the `tiny` profile takes, notebooks side by side
ARTICLE_GPU_MEMORY = 16.0  # GiB, the article's figure for a batch of 4 × 256 in float32

Verdict = Literal["good", "slow", "fix"]
MARKS = {"good": "✓ good", "slow": "○ will be slow", "fix": "✗ fix"}
# Okabe and Ito's green, orange and vermilion, light enough for black text.
COLOURS = {"good": "#cdeee3", "slow": "#fbe8c0", "fix": "#f6cdb5"}


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's table.

    Attributes:
        what: what was looked at.
        value: what is there.
        verdict: good, slow (it works, with patience) or fix (something does not work until then).
        hint: what it means or what to do; never empty where the verdict is ``fix``.
    """

    what: str
    value: str
    verdict: Verdict = "good"
    hint: str = ""


def examine() -> list[Finding]:
    """Look at all that the course depends on: a second, or five if the hub does not answer."""
    python = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    findings = [Finding("Python", python), *_packages(), _cores(), _memory(), _disk()]
    return [*findings, _device(), _base_model(), _hub(), _cache(), _profile()]


def as_text(findings: Sequence[Finding]) -> str:
    """Return the table as text, a line per finding, with its hint below."""
    lines = []
    for finding in findings:
        lines.append(f"{MARKS[finding.verdict]:<15} {finding.what:<18} {finding.value}")
        if finding.hint:
            lines.append(f"{'':<15} {'':<18} → {finding.hint}")
    return "\n".join(lines)


def as_html(findings: Sequence[Finding]) -> str:
    """Return the table as HTML, its lines coloured by verdict."""
    return html_table(
        ["", "what", "found", "what it means, what to do"],
        [[MARKS[each.verdict], each.what, each.value, each.hint] for each in findings],
        [COLOURS[each.verdict] for each in findings],
    )


def _packages() -> list[Finding]:
    from packaging.requirements import Requirement
    from torch import __version__ as torch_version

    required = map(Requirement, importlib.metadata.requires(DISTRIBUTION) or [])
    ranges = {requirement.name: requirement.specifier for requirement in required}
    findings = []
    for name in SHOWN_PACKAGES:
        # torch itself says for which hardware it was built; its package's metadata need not.
        version = torch_version if name == "torch" else importlib.metadata.version(name)
        if ranges[name].contains(version, prereleases=True):
            findings.append(Finding(name, version))
        else:
            remedy = "pip install -c constraints.txt -e . in the course's folder"
            hint = f"the course needs {ranges[name]}: {remedy}"
            findings.append(Finding(name, version, "fix", hint))
    return findings


def _cores() -> Finding:
    import torch

    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    if cores == 1:
        hint = "training in 07 may take twice the time that it says"
        return Finding("cores", "1", "slow", hint)
    threads = f"{cores}; torch uses {torch.get_num_threads()} threads"
    return Finding("cores", threads, hint="keep other programs quiet while 07 trains")


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    free = memory.available / 2**30
    value = f"{free:.1f} of {memory.total / 2**30:.1f} GiB free"
    remedy = "close other programs or notebooks (Kernel > Shut Down All)"
    return _room("memory", value, free, TINY_MEMORY, remedy)


def _disk() -> Finding:
    folder = runs_dir()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free / 2**30
    value = f"{free:.0f} GiB free for {folder.name}/"
    remedy = "free some, or set TUTORIAL_RUNS to a folder on another disk"
    return _room("disk", value, free, TINY_DISK, remedy)


def _room(what: str, value: str, free: float, needed: float, remedy: str) -> Finding:
    if free >= needed:
        return Finding(what, value)
    return Finding(what, value, "fix", f"{remedy}: {needed:.0f} GiB must be free")


def _gpu() -> tuple[str, float | None]:
    """Name of the device, or "cpu", and its memory (GiB) where it is its own and known."""
    import torch

    from tutorial_lib.models import pick_device

    device = pick_device()
    if device.type != "cuda":
        return device.type, None
    memory = torch.cuda.get_device_properties(device).total_memory / 2**30
    return torch.cuda.get_device_name(device), memory


def _device() -> Finding:
    name, memory = _gpu()
    if name == "cpu":
        hint = "fine for the tiny profile; the article's own model needs a GPU"
        return Finding("GPU", "none: everything runs on the CPU", "slow", hint)
    value = name + (f", {memory:.0f} GiB" if memory else "")
    small = f"fine for tiny; the article's model takes {ARTICLE_GPU_MEMORY:.0f} GiB"
    return Finding("GPU", value, hint=small if memory and memory < ARTICLE_GPU_MEMORY else "")


def _base_model() -> Finding:
    from tutorial_lib.models import TINYWORLD_BASE

    weights = TINYWORLD_BASE / "model.safetensors"
    if weights.is_file():
        size = f"{weights.stat().st_size / 1e6:.1f} MB, ships with the kit"
        return Finding("TinyWorld's base", size)
    hint = "the checkout is incomplete: git status lists what is missing, git restore restores it"
    return Finding("TinyWorld's base", "missing", "fix", hint)


def _hub() -> Finding:
    from huggingface_hub import constants

    from tutorial_lib.hub import endpoint_problem

    if constants.HF_HUB_OFFLINE:
        hint = "models and data come from the cache or from folders"
        return Finding("hub", "HF_HUB_OFFLINE is set: it is never asked", hint=hint)
    problem = endpoint_problem()
    if problem is None:
        return Finding("hub", f"{constants.ENDPOINT} answers")
    remedy = "set HF_ENDPOINT to a mirror before Jupyter starts, or give local folders"
    hint = f"the tiny and fast profiles need no hub; for another, {remedy}"
    profile = get_profile()
    needed = any(map(_is_elsewhere, (profile.model, profile.dataset)))
    return Finding("hub", f"{constants.ENDPOINT}: {problem}", "fix" if needed else "good", hint)


def _is_elsewhere(source: str) -> bool:
    return source.partition(":")[0] != TINYWORLD and not Path(source).expanduser().exists()


def _cache() -> Finding:
    from huggingface_hub import constants

    count = sum(folder.is_dir() for folder in Path(constants.HF_HUB_CACHE).glob("*--*"))
    hint = "HF_HOME moves the cache to another disk"
    return Finding("downloads", f"{count} kept in the hub's cache", hint=hint)


def _profile() -> Finding:
    profile = get_profile()
    name, memory = _gpu()
    small = name == "cpu" or (memory is not None and memory < ARTICLE_GPU_MEMORY)
    if profile.model == PROFILES["article"].model and small:
        needs = f"{profile.model} takes {ARTICLE_GPU_MEMORY:.0f} GiB of a GPU"
        hint = f"{needs}; without one, unset TUTORIAL_PROFILE"
        return Finding("profile", profile.name, "slow", hint)
    hint = f"model {profile.model}, data {profile.dataset}"
    if profile.model == profile.dataset == TINYWORLD:
        hint = "its model and data ship with the kit, no GPU and no network needed"
    return Finding("profile", profile.name, hint=hint)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    description = __doc__.split("\n\n")[1]
    parser = argparse.ArgumentParser("python -m tutorial_lib.doctor", description=description)
    parser.parse_args(arguments)
    print(as_text(examine()))


if __name__ == "__main__":
    run_command(main)
