"""Peak resident memory of a process and of real training steps; Linux with glibc only.

``measure_training_memory`` starts this file as a process of its own.
"""

import gc
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

from transformers import AutoConfig, PreTrainedConfig

from tutorial_lib.scaling.step_memory import Step, prepare_training, train_step

# glibc gives freed memory back at once, else it still counts as resident; and Intel's MKL keeps no
# buffers for its matrix products: 17 to 36 MB, by processor and threads, for any size of model.
GIVE_MEMORY_BACK = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_ARENA_MAX": "1",
    "MKL_DISABLE_FAST_MM": "1",
}


def peak_resident() -> int:
    """Return the highest resident memory of this process (bytes), since it started or was reset.

    (``getrusage`` would also count what the parent had when it started this process.)
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    [peak] = [line for line in lines if line.startswith("VmHWM:")]
    return 1024 * int(peak.split()[1])


def measure_training_memory(configuration: PreTrainedConfig, step: Step) -> int:
    """Return the peak resident memory (bytes) of two real steps on the processor.

    They run in a process of their own, and what it holds before them is not counted.

    Raises:
        ValueError: an optimizer that runs on GPUs only.
        RuntimeError: the measuring process failed.
    """
    if step.optimizer == "8-bit AdamW":
        remedy = "it can be estimated here, not measured"
        raise ValueError(f"8-bit AdamW needs bitsandbytes and a GPU: {remedy}")
    job = json.dumps({"configuration": configuration.to_dict(), "step": asdict(step)})
    environment = {**os.environ, **GIVE_MEMORY_BACK}
    options = {"capture_output": True, "text": True, "check": False}
    done = subprocess.run([sys.executable, __file__], input=job, env=environment, **options)
    if done.returncode:
        raise RuntimeError(f"the measuring process failed: {done.stderr.strip().splitlines()[-1:]}")
    return int(done.stdout)


def main() -> None:
    """Read a job from standard input, do it, and print its peak."""
    job = json.load(sys.stdin)
    configuration, step = job["configuration"], Step(**job["step"])
    # A first, small step loads libraries and starts threads, which belong to the process and not
    # to the training.
    small = {"n_layer": 1, "hidden_size": 32, "n_head": 2, "vocab_size": 64}
    warm_up = replace(step, batch=1, length=8)
    model, optimizers = prepare_training(
        AutoConfig.for_model(**{**configuration, **small}), warm_up
    )
    train_step(model, optimizers, warm_up)
    del model, optimizers
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # Linux counts the peak from here (man 5 proc)
    before = peak_resident()
    model, optimizers = prepare_training(AutoConfig.for_model(**configuration), step)
    for _ in range(2):
        train_step(model, optimizers, step)
    print(peak_resident() - before)


if __name__ == "__main__":
    main()
