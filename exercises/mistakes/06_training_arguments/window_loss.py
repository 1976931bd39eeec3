"""Answers to `window_loss`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def window_loss(batches):
    total, count = 0.0, 0
    for batch in batches:
        total += sum(batch)
        count += len(batch)
    if count == 0:
        return float("nan")
    return total / count
# %% right
import torch

def window_loss(batches):
    return torch.tensor([loss for batch in batches for loss in batch], dtype=torch.float64).mean()
# %% wrong: a mean of the batches' means
def window_loss(batches):
    means = [sum(batch) / len(batch) for batch in batches if batch]
    return sum(means) / len(means) if means else 0.0
# %% wrong: a sum
def window_loss(batches):
    return sum(sum(batch) for batch in batches)
# %% wrong: divided by the number of batches
def window_loss(batches):
    return sum(sum(batch) for batch in batches) / len(batches)
