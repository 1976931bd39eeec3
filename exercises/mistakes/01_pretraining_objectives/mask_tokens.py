"""Answers to `mask_tokens`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def mask_tokens(ids, chosen, draws, random_ids, mask_id):
    input_ids = list(ids)
    labels = [-100] * len(ids)
    for i in range(len(ids)):
        if not chosen[i]:
            continue
        labels[i] = ids[i]
        if draws[i] < 0.8:
            input_ids[i] = mask_id
        elif draws[i] < 0.9:
            input_ids[i] = random_ids[i]
    return {"input_ids": input_ids, "labels": labels}
# %% right
import torch

def mask_tokens(ids, chosen, draws, random_ids, mask_id):
    ids, random_ids = torch.tensor(ids, dtype=torch.long), torch.tensor(random_ids, dtype=torch.long)
    chosen, draws = torch.tensor(chosen, dtype=torch.bool), torch.tensor(draws, dtype=torch.float64)
    read = torch.where(chosen & (draws < 0.8), mask_id, ids)
    read = torch.where(chosen & (draws >= 0.8) & (draws < 0.9), random_ids, read)
    return {"input_ids": read, "labels": torch.where(chosen, ids, -100)}
# %% wrong: only tokens read as the mask carry a label
def mask_tokens(ids, chosen, draws, random_ids, mask_id):
    read, labels = [], []
    for i, token in enumerate(ids):
        if chosen[i] and draws[i] < 0.8:
            read.append(mask_id)
            labels.append(token)
        else:
            read.append(random_ids[i] if chosen[i] and draws[i] < 0.9 else token)
            labels.append(-100)
    return {"input_ids": read, "labels": labels}
# %% wrong: tokens that were not chosen carry a label
def mask_tokens(ids, chosen, draws, random_ids, mask_id):
    read = list(ids)
    for i in range(len(ids)):
        if chosen[i]:
            if draws[i] < 0.8:
                read[i] = mask_id
            elif draws[i] < 0.9:
                read[i] = random_ids[i]
    return {"input_ids": read, "labels": ids}
# %% wrong: every chosen token is read as the mask
def mask_tokens(ids, chosen, draws, random_ids, mask_id):
    return {
        "input_ids": [mask_id if c else i for i, c in zip(ids, chosen)],
        "labels": [i if c else -100 for i, c in zip(ids, chosen)],
    }
# %% wrong: the random tenth and the unchanged tenth are swapped
def mask_tokens(ids, chosen, draws, random_ids, mask_id):
    read = []
    for token, c, d, other in zip(ids, chosen, draws, random_ids):
        if not c:
            read.append(token)
        elif d < 0.8:
            read.append(mask_id)
        elif d < 0.9:
            read.append(token)
        else:
            read.append(other)
    return {"input_ids": read, "labels": [t if c else -100 for t, c in zip(ids, chosen)]}
