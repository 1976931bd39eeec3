"""Answers to `lost_steps`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
import torch

def lost_steps(weights, step):
    kept = torch.tensor(weights).bfloat16()
    moved = kept - torch.tensor(step).bfloat16()
    return torch.eq(kept, moved).double().mean()
# %% right
import torch

def lost_steps(weights, step):
    step = torch.tensor(step, dtype=torch.bfloat16)
    same = 0
    for weight in weights:
        weight = torch.tensor(weight, dtype=torch.bfloat16)
        same += int((weight - step) == weight)
    return same / len(weights)
# %% wrong: measured in float32
import torch

def lost_steps(weights, step):
    weights = torch.tensor(weights)
    return ((weights - step) == weights).float().mean().item()
# %% wrong: measured in float16
import torch

def lost_steps(weights, step):
    before = torch.tensor(weights, dtype=torch.float16)
    after = before - torch.tensor(step, dtype=torch.float16)
    return (before == after).float().mean().item()
# %% wrong: the share of the steps that are *not* lost
import torch

def lost_steps(weights, step):
    before = torch.tensor(weights, dtype=torch.bfloat16)
    after = before - torch.tensor(step, dtype=torch.bfloat16)
    return (before != after).float().mean().item()
