"""Answers to `collate`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def collate(rows, pad_id, side):
    longest = max(len(row["input_ids"]) for row in rows)
    batch = {"input_ids": [], "attention_mask": [], "labels": []}
    for row in rows:
        size = len(row["input_ids"])
        gap = longest - size
        parts = {
            "input_ids": (row["input_ids"], pad_id),
            "attention_mask": ([1] * size, 0),
            "labels": (row["labels"], -100),
        }
        for key, (values, filling) in parts.items():
            batch[key].append([filling] * gap + values if side == "left" else values + [filling] * gap)
    return batch
# %% right
import torch
from torch.nn.utils.rnn import pad_sequence

def collate(rows, pad_id, side):
    def pad(lists, value):
        return pad_sequence([torch.tensor(x) for x in lists], batch_first=True, padding_value=value, padding_side=side)
    return {
        "input_ids": pad([row["input_ids"] for row in rows], pad_id),
        "attention_mask": pad([[1] * len(row["input_ids"]) for row in rows], 0),
        "labels": pad([row["labels"] for row in rows], -100),
    }
# %% wrong: padding is labelled with the padding id
import torch
from torch.nn.utils.rnn import pad_sequence

def collate(rows, pad_id, side):
    def pad(lists, value):
        return pad_sequence([torch.tensor(x) for x in lists], batch_first=True, padding_value=value, padding_side=side)
    return {
        "input_ids": pad([row["input_ids"] for row in rows], pad_id),
        "attention_mask": pad([[1] * len(row["input_ids"]) for row in rows], 0),
        "labels": pad([row["labels"] for row in rows], pad_id),
    }
# %% wrong: the mask is made by value
def collate(rows, pad_id, side):
    width = max(len(row["input_ids"]) for row in rows)
    def fill(values, filling):
        gap = [filling] * (width - len(values))
        return gap + values if side == "left" else values + gap
    ids = [fill(row["input_ids"], pad_id) for row in rows]
    mask = [[0 if token == pad_id else 1 for token in row] for row in ids]
    return {"input_ids": ids, "attention_mask": mask, "labels": [fill(row["labels"], -100) for row in rows]}
# %% wrong: the side is not looked at
def collate(rows, pad_id, side):
    width = max(len(row["input_ids"]) for row in rows)
    def fill(values, filling):
        return [filling] * (width - len(values)) + values
    return {
        "input_ids": [fill(row["input_ids"], pad_id) for row in rows],
        "attention_mask": [fill([1] * len(row["input_ids"]), 0) for row in rows],
        "labels": [fill(row["labels"], -100) for row in rows],
    }
# %% wrong: labels are padded on the other side
def collate(rows, pad_id, side):
    width = max(len(row["input_ids"]) for row in rows)
    def fill(values, filling, left):
        gap = [filling] * (width - len(values))
        return gap + values if left else values + gap
    left = side == "left"
    return {
        "input_ids": [fill(row["input_ids"], pad_id, left) for row in rows],
        "attention_mask": [fill([1] * len(row["input_ids"]), 0, left) for row in rows],
        "labels": [fill(row["labels"], -100, not left) for row in rows],
    }
# %% wrong: padded to a fixed length
def collate(rows, pad_id, side):
    width = 32
    def fill(values, filling):
        gap = [filling] * (width - len(values))
        return gap + values if side == "left" else values + gap
    return {
        "input_ids": [fill(row["input_ids"], pad_id) for row in rows],
        "attention_mask": [fill([1] * len(row["input_ids"]), 0) for row in rows],
        "labels": [fill(row["labels"], -100) for row in rows],
    }
