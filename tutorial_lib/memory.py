"""``python -m tutorial_lib.memory``: what a full fine-tuning takes in memory, part by part.

Nothing of the model's size is allocated; of the model, only its configuration is read.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace

from tutorial_lib.command import run_command
from tutorial_lib.profiles import PROFILES, get_profile
from tutorial_lib.scaling.shapes import SHAPES


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the estimate for a profile's model, or for another."""
    description = "Print what a full fine-tuning takes in memory, part by part."
    parser = argparse.ArgumentParser("python -m tutorial_lib.memory", description=description)
    profiles = ", ".join(PROFILES)
    add = parser.add_argument
    add("--profile", help=f"{profiles} (default: TUTORIAL_PROFILE, else tiny)")
    add("--model", help="a hub id or local folder (default: the profile's)")
    add("--batch", type=int, help="rows per forward pass (default: the profile's)")
    add("--length", type=int, help="tokens per row (default: the profile's)")
    options = parser.parse_args(arguments)
    profile = get_profile(options.profile)
    batch = options.batch or profile.per_device_train_batch_size
    length = options.length or profile.max_length
    _print_table(options.model or profile.model, batch, length, profile.gradient_accumulation_steps)


def _print_table(model: str, batch: int, length: int, accumulation: int) -> None:
    from tutorial_lib.scaling import step_memory

    # The shape of the article's model is known: there is nothing to download for it.
    shape = SHAPES["0.8 B"] if model == PROFILES["article"].model else None
    once = step_memory.Step(batch, length)
    base = replace(once, accumulation=accumulation)
    variants = {
        "float32, AdamW (fused)": base,
        "… without accumulation": once,
        "… (foreach) without": replace(once, fused=False),
        "… with checkpointing": replace(base, checkpointing=True),
        "bfloat16 autocast": replace(base, precision="bfloat16 autocast"),
        "bfloat16 weights": replace(base, precision="bfloat16 weights"),
        "8-bit AdamW": replace(base, optimizer="8-bit AdamW"),
        "Adafactor": replace(base, optimizer="Adafactor"),
        "AdamW, gradients released": replace(once, released=True),
        "SGD": replace(base, optimizer="SGD"),
    }
    print(f"{model}: {accumulation} × {batch} rows × {length} tokens per step, GiB at the peak\n")
    columns = (*step_memory.PARTS, "peak", "by formula")
    print(f"{'':<26}" + "".join(f"{name:>18}" for name in columns))
    for label, step in variants.items():
        if shape:
            sizes = step_memory.plan_training_memory(shape, step)
        else:
            sizes = step_memory.estimate_training_memory(model, step)
        # The article's formula has weights, gradients and states, and nothing that rows add.
        parameters = sizes["parameters"] // step_memory.PRECISIONS[step.precision]
        formula = step_memory.fixed_memory(parameters, step.precision, step.optimizer)
        sizes = {**sizes, "by formula": sum(formula.values())}
        figures = (sizes[name] / step_memory.GIB for name in columns)
        print(f"{label:<26}" + "".join(f"{figure:>18.2f}" for figure in figures), flush=True)


if __name__ == "__main__":
    run_command(main)
