"""Estimated against measured peak memory, from 1 million to 751 million parameters: 24 GB, 5 minutes, and a quiet machine are needed.

``make bench-memory``; ``--small`` leaves out what takes more than 2 GiB.
"""

import argparse
import platform
import time

import torch
from transformers import BloomConfig

from tutorial_lib.memory import GIB, Step, estimate_training_memory, measure_training_memory

SHAPES = {  # vocabulary, hidden size, layers, heads
    "1 M": (2_048, 128, 4, 4),
    "6 M": (4_096, 256, 6, 8),
    "17 M": (16_384, 384, 6, 6),
    "27 M": (16_384, 512, 6, 8),
    "109 M": (32_768, 768, 12, 12),
    "751 M": (46_145, 1_536, 24, 16),
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
    """Print a line a configuration, and the largest difference."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true", help="leave out what takes more than 2 GiB")
    small = parser.parse_args().small
    print(
        f"{time.strftime('%Y-%m-%d')}, {platform.processor() or platform.machine()}, torch {torch.__version__}"
    )
    worst = 0.0
    for name, step in RUNS:
        vocabulary, hidden, layers, heads = SHAPES[name]
        shape = {
            "vocab_size": vocabulary,
            "hidden_size": hidden,
            "n_layer": layers,
            "n_head": heads,
        }
        configuration = BloomConfig(**shape, hidden_dropout=0.0, attention_dropout=0.0)
        estimated = estimate_training_memory(configuration, step)["peak"]
        if small and estimated > SMALL:
            continue
        measured = measure_training_memory(configuration, step)
        difference = estimated / measured - 1
        worst = max(worst, abs(difference))
        kind = f"{step.batch} × {step.length}, {step.precision}, {step.optimizer}" + (
            ", foreach" if not step.fused else ""
        )
        kind += ", checkpointed" if step.checkpointing else ""
        print(
            f"{name:>6}  {kind:<52} estimated {estimated / GIB:6.3f}  measured {measured / GIB:6.3f} GiB  {difference:+.1%}",
            flush=True,
        )
    print(f"largest difference: {worst:.1%}")


if __name__ == "__main__":
    main()
