"""The command of sharded training; `tests/test_processes.py` runs it in several processes."""

import re
import subprocess
import sys


def test_help_needs_no_heavy_import():
    line = [sys.executable, "-X", "importtime", "-m", "tutorial_lib.scaling.sharding", "--help"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert "usage: python -m tutorial_lib.scaling.sharding" in done.stdout
    assert not re.search(r"\b(torch|transformers|datasets)$", done.stderr, re.MULTILINE)
