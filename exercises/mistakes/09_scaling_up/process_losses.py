"""Answers to `process_losses`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
import torch

def process_losses(losses, labels):
    tokens = sum(int((torch.tensor(row) != -100).sum()) for row in labels)
    result = []
    for values, marks in zip(losses, labels):
        values, marks = torch.tensor(values, dtype=torch.float64), torch.tensor(marks)
        result.append(values[marks != -100].sum().item() / (tokens / len(losses)))
    return result
# %% right
def process_losses(losses, labels):
    sums, counts = [], []
    for own, marks in zip(losses, labels):
        total = count = 0
        for position, mark in enumerate(marks):
            if mark == -100:
                continue
            total += own[position]
            count += 1
        sums.append(total)
        counts.append(count)
    mean_count = sum(counts) / len(counts)
    return [total / mean_count for total in sums]
# %% right
def process_losses(losses, labels):
    kept = [[a for a, b in zip(*pair) if b >= 0] for pair in zip(losses, labels)]
    tokens = sum(len(row) for row in kept)
    # the process's own mean, weighted by its share of the tokens
    return [sum(row) / len(row) * len(row) / tokens * len(kept) if row else 0 for row in kept]
# %% wrong: each process takes its own mean: tokens
def process_losses(losses, labels):
    result = []
    for own, marks in zip(losses, labels):
        kept = [a for a, b in zip(own, marks) if b != -100]
        result.append(sum(kept) / max(1, len(kept)))
    return result
# %% wrong: each process takes its own mean, and one without
def process_losses(losses, labels):
    result = []
    for own_losses, own_labels in zip(losses, labels, strict=True):
        supervised = [loss for loss, label in zip(own_losses, own_labels, strict=True) if label != -100]
        result.append(sum(supervised) / len(supervised))
    return result
# %% wrong: the number of processes is missing
def process_losses(losses, labels):
    tokens = sum(mark != -100 for row in labels for mark in row)
    return [sum(a for a, b in zip(own, marks) if b != -100) / tokens for own, marks in zip(losses, labels)]
# %% wrong: positions labelled -100 count
def process_losses(losses, labels):
    tokens = sum(len(row) for row in losses)
    return [sum(row) * len(losses) / tokens for row in losses]
# %% wrong: divided by all positions
def process_losses(losses, labels):
    positions = sum(len(row) for row in labels)
    result = []
    for own, marks in zip(losses, labels):
        kept = [a for a, b in zip(own, marks) if b != -100]
        result.append(len(losses) * sum(kept) / positions)
    return result
# %% wrong: sums that are divided by nothing
def process_losses(losses, labels):
    return [sum(a for a, b in zip(own, marks) if b != -100) for own, marks in zip(losses, labels)]
# %% wrong: a process without supervised tokens gives nan
import torch

def process_losses(losses, labels):
    tokens = sum(mark != -100 for row in labels for mark in row)
    result = []
    for own, marks in zip(losses, labels):
        kept = torch.tensor([a for a, b in zip(own, marks) if b != -100], dtype=torch.float64)
        result.append(kept.mean().item() * len(kept) / tokens * len(losses))
    return result
# %% wrong: every process has the loss of all
def process_losses(losses, labels):
    kept = [a for own, marks in zip(losses, labels) for a, b in zip(own, marks) if b != -100]
    return [sum(kept) / len(kept) for _ in losses]
