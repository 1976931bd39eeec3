"""Answers to `mask_padding`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def mask_padding(input_ids, attention_mask, pad_id):
    labels = []
    for token, mask in zip(input_ids, attention_mask):
        labels.append(token if mask == 1 else -100)
    return labels
# %% right
import numpy as np

def mask_padding(input_ids, attention_mask, pad_id):
    return np.where(np.array(attention_mask) == 1, np.array(input_ids), -100)
# %% wrong: masked by value
def mask_padding(input_ids, attention_mask, pad_id):
    return [-100 if token == pad_id else token for token in input_ids]
# %% wrong: padding carries a label
def mask_padding(input_ids, attention_mask, pad_id):
    return list(input_ids)
# %% wrong: padding is labelled with its own id
def mask_padding(input_ids, attention_mask, pad_id):
    return [token if mask else pad_id for token, mask in zip(input_ids, attention_mask)]
# %% wrong: the mask is read the wrong way round
def mask_padding(input_ids, attention_mask, pad_id):
    return [-100 if mask else token for token, mask in zip(input_ids, attention_mask)]
