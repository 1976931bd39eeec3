"""Estimated against measured peak memory, from 1 million to 751 million parameters.

``make bench-memory`` needs 24 GB, 5 minutes and a quiet machine; ``--small`` leaves out what
takes more than 2 GiB.
"""

import argparse
import platform
import time

import torch
from resident import measure_training_memory

from tutorial_lib.scaling.shapes import SHAPES, ModelShape
from tutorial_lib.scaling.step_memory import GIB, Step, estimate_training_memory

MODELS = {
    "1 M": ModelShape(2_048, 128, 4, 4),
    "6 M": ModelShape(4_096, 256, 6, 8),
    "17 M": ModelShape(16_384, 384, 6, 6),
    "27 M": ModelShape(16_384, 512, 6, 8),
    "109 M": ModelShape(32_768, 768, 12, 12),
    "751 M": SHAPES["0.8 B"],
}
RUNS = [
    ("1 M", Step(32, 256)),
    ("1 M", Step(32, 256, checkpointing=True)),
    ("6 M", Step(16, 256)),
    ("6 M", Step(16, 256, precision="bfloat16 autocast")),
    ("6 M", Step(16, 256, optimizer="SGD")),
    ("17 M", Step(8, 256)),
    ("17 M", Step(8, 256, precision="bfloat16 weights")),
    ("27 M", Step(4, 256)),
    ("27 M", Step(4, 256, fused=False)),
    ("27 M", Step(8, 256, optimizer="SGD with momentum")),
    ("109 M", Step(4, 128)),
    ("109 M", Step(4, 256, checkpointing=True)),
    ("751 M", Step(4, 256)),
]
SMALL = 2 * GIB


def main() -> None:
    """Print a line per configuration, and the largest difference."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true", help="leave out what takes more than 2 GiB")
    small = parser.parse_args().small
    processor = platform.processor() or platform.machine()
    print(f"{time.strftime('%Y-%m-%d')}, {processor}, torch {torch.__version__}")
    worst = 0.0
    for name, step in RUNS:
        configuration = MODELS[name].configuration()
        estimated = estimate_training_memory(configuration, step)["peak"]
        if small and estimated > SMALL:
            continue
        measured = measure_training_memory(configuration, step)
        difference = estimated / measured - 1
        worst = max(worst, abs(difference))
        kind = f"{step.batch} × {step.length}, {step.precision}, {step.optimizer}"
        kind += ("" if step.fused else ", foreach") + ", checkpointed" * step.checkpointing
        print(f"{name:>6}  {kind:<52} estimated {estimated / GIB:6.3f}", end="  ")
        print(f"measured {measured / GIB:6.3f} GiB  {difference:+.1%}", flush=True)
    print(f"largest difference: {worst:.1%}")


if __name__ == "__main__":
    main()
