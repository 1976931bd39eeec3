"""Answers to `cut_report`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def cut_report(lengths, max_length):
    cut = dead = 0
    for prompt, response in lengths:
        if prompt + response > max_length:
            cut += 1
        if prompt >= max_length:
            dead += 1
    return {"cut": cut, "dead": dead, "share": cut / len(lengths)}
# %% right
import torch

def cut_report(lengths, max_length):
    rows = torch.tensor(lengths)
    cut = rows.sum(1) > max_length
    return {"cut": cut.sum(), "dead": (rows[:, 0] >= max_length).sum(), "share": cut.double().mean()}
# %% wrong: a row of exactly the limit is counted as cut
def cut_report(lengths, max_length):
    cut = len([1 for p, r in lengths if p + r >= max_length])
    dead = len([1 for p, r in lengths if p >= max_length])
    return {"cut": cut, "dead": dead, "share": cut / len(lengths)}
# %% wrong: dead rows are not counted as cut
def cut_report(lengths, max_length):
    cut = dead = 0
    for prompt, response in lengths:
        if prompt >= max_length:
            dead += 1
        elif prompt + response > max_length:
            cut += 1
    return {"cut": cut, "dead": dead, "share": cut / len(lengths)}
# %% wrong: a percentage
def cut_report(lengths, max_length):
    cut = sum(p + r > max_length for p, r in lengths)
    dead = sum(p >= max_length for p, r in lengths)
    return {"cut": cut, "dead": dead, "share": cut / len(lengths) * 100}
