"""Answers to `mask_prompt`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def mask_prompt(input_ids, prompt_length):
    return [-100 if place < prompt_length else token for place, token in enumerate(input_ids)]
# %% right
import torch

def mask_prompt(input_ids, prompt_length):
    labels = torch.tensor(input_ids)
    labels[:prompt_length] = -100
    return labels
# %% wrong: labels of the prompt are the ids
def mask_prompt(input_ids, prompt_length):
    labels = input_ids.copy()
    return labels
# %% wrong: the labels are moved by one
def mask_prompt(input_ids, prompt_length):
    labels = [-100 if place < prompt_length else token for place, token in enumerate(input_ids)]
    return labels[1:] + [-100]
# %% wrong: the last token of the prompt carries a label
def mask_prompt(input_ids, prompt_length):
    return [-100 if place < prompt_length - 1 else token for place, token in enumerate(input_ids)]
# %% wrong: the first token of the answer is masked
def mask_prompt(input_ids, prompt_length):
    return [-100 if place <= prompt_length else token for place, token in enumerate(input_ids)]
# %% wrong: the prompt is taken out
def mask_prompt(input_ids, prompt_length):
    return input_ids[prompt_length:]
