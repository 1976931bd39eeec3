"""Answers to `causal_loss`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def causal_loss(log_probabilities, labels):
    total, count = 0.0, 0
    for place in range(len(labels) - 1):
        target = labels[place + 1]
        if target == -100:
            continue
        total -= log_probabilities[place][target]
        count += 1
    return total / count if count else float("nan")
# %% right
import torch

def causal_loss(log_probabilities, labels):
    scores = torch.tensor(log_probabilities, dtype=torch.float64)[:-1]
    return torch.nn.functional.nll_loss(scores, torch.tensor(labels)[1:]).item()
# %% wrong: no shift
import torch

def causal_loss(log_probabilities, labels):
    scores = torch.tensor(log_probabilities, dtype=torch.float64)
    return torch.nn.functional.nll_loss(scores, torch.tensor(labels)).item()
# %% wrong: shifted twice
def causal_loss(log_probabilities, labels):
    losses = [-log_probabilities[t][labels[t + 2]] for t in range(len(labels) - 2) if labels[t + 2] != -100]
    return sum(losses) / len(losses) if losses else float("nan")
# %% wrong: divided by all positions
def causal_loss(log_probabilities, labels):
    total = 0.0
    found = False
    for row, label in zip(log_probabilities, labels[1:]):
        if label != -100:
            total -= row[label]
            found = True
    return total / (len(labels) - 1) if found else total / (len(labels) - 1)
# %% wrong: a sum
def causal_loss(log_probabilities, labels):
    losses = [-row[label] for row, label in zip(log_probabilities, labels[1:]) if label != -100]
    return sum(losses) if losses else float("nan")
# %% wrong: a loss of 0 where there is nothing to learn
def causal_loss(log_probabilities, labels):
    losses = [-row[label] for row, label in zip(log_probabilities, labels[1:]) if label != -100]
    if not losses:
        return 0.0
    return sum(losses) / len(losses)
