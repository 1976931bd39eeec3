"""Answers to `lora_parameters`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def lora_parameters(shapes, rank, targets):
    return rank * sum(sum(shape) for name, shape in shapes.items() if name[name.rfind(".") + 1 :] in targets)
# %% right
import torch

def lora_parameters(shapes, rank, targets):
    count = 0
    for name, (size_in, size_out) in shapes.items():
        if any(name == target or name.endswith("." + target) for target in targets):
            down, up = torch.empty(size_in, rank), torch.empty(rank, size_out)
            count += down.numel() + up.numel()
    return count
# %% wrong: the frozen matrix is counted too
def lora_parameters(shapes, rank, targets):
    count = 0
    for name, (a, b) in shapes.items():
        if name.split(".")[-1] in targets:
            count += a * b + a * rank + rank * b
    return count
# %% wrong: rank times the whole matrix
def lora_parameters(shapes, rank, targets):
    return sum(a * b * rank for name, (a, b) in shapes.items() if name.split(".")[-1] in targets)
# %% wrong: only the first of the two small matrices
def lora_parameters(shapes, rank, targets):
    return sum(shape[0] * rank for name, shape in shapes.items() if name.split(".")[-1] in targets)
# %% wrong: only the second of the two small matrices
def lora_parameters(shapes, rank, targets):
    return sum(shape[-1] * rank for name, shape in shapes.items() if name.split(".")[-1] in targets)
# %% wrong: targets are left out
def lora_parameters(shapes, rank, targets):
    return sum(rank * (a + b) for a, b in shapes.values())
# %% wrong: a part of a name is enough
def lora_parameters(shapes, rank, targets):
    count = 0
    for name, (a, b) in shapes.items():
        if any(target in name for target in targets):
            count += rank * (a + b)
    return count
