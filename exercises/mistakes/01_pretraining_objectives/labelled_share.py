"""Answers to `labelled_share`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def labelled_share(labels, attention_mask):
    tokens = asked = 0
    for row, mask in zip(labels, attention_mask):
        for label, seen in zip(row, mask):
            tokens += seen
            asked += label != -100
    return asked / tokens
# %% right
import numpy as np

def labelled_share(labels, attention_mask):
    return (np.array(labels) != -100).sum() / np.array(attention_mask).sum()
# %% wrong: padding counts as text
def labelled_share(labels, attention_mask):
    flat = [label for row in labels for label in row]
    return sum(label != -100 for label in flat) / len(flat)
# %% wrong: a mean of the rows' shares
def labelled_share(labels, attention_mask):
    shares = []
    for row, mask in zip(labels, attention_mask):
        shares.append(sum(label != -100 for label in row) / sum(mask))
    return sum(shares) / len(shares)
# %% wrong: a percentage
def labelled_share(labels, attention_mask):
    return sum(x != -100 for r in labels for x in r) / sum(m for r in attention_mask for m in r) * 100
