"""Answers to `encode_row`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def encode_row(prompt_ids, response_ids, end_id, max_length):
    response = response_ids if response_ids and response_ids[-1] == end_id else response_ids + [end_id]
    ids = prompt_ids + response
    labels = [-100] * len(prompt_ids) + response
    if len(ids) > max_length:
        ids, labels = ids[:max_length], labels[:max_length]
        if len(prompt_ids) < max_length:
            ids[-1] = labels[-1] = end_id
    return {"labels": labels, "input_ids": ids, "attention_mask": [1] * len(ids)}
# %% right
def encode_row(prompt_ids, response_ids, end_id, max_length):
    body = list(response_ids)
    while body and body[-1] == end_id:
        body.pop()
    prompt = prompt_ids[:max_length]
    room = max_length - len(prompt)
    tail = (body[: room - 1] + [end_id]) if room > 0 else []
    return {
        "input_ids": prompt + tail,
        "attention_mask": [1 for _ in prompt + tail],
        "labels": [-100 for _ in prompt] + tail,
    }
# %% wrong: the cut takes the end token away
def encode_row(prompt_ids, response_ids, end_id, max_length):
    response = response_ids if response_ids and response_ids[-1] == end_id else response_ids + [end_id]
    ids = (prompt_ids + response)[:max_length]
    labels = ([-100] * len(prompt_ids) + response)[:max_length]
    return {"labels": labels, "input_ids": ids, "attention_mask": [1] * len(ids)}
# %% wrong: labels of the prompt are the ids
def encode_row(prompt_ids, response_ids, end_id, max_length):
    response = response_ids if response_ids and response_ids[-1] == end_id else response_ids + [end_id]
    ids = prompt_ids + response
    if len(ids) > max_length:
        ids = ids[:max_length]
        if len(prompt_ids) < max_length:
            ids[-1] = end_id
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": ids}
# %% wrong: the end token is never added
def encode_row(prompt_ids, response_ids, end_id, max_length):
    ids = (prompt_ids + response_ids)[:max_length]
    labels = ([-100] * len(prompt_ids) + response_ids)[:max_length]
    return {"labels": labels, "input_ids": ids, "attention_mask": [1] * len(ids)}
# %% wrong: an answer that ends already gets a second end token
def encode_row(prompt_ids, response_ids, end_id, max_length):
    response = response_ids + [end_id]
    ids = prompt_ids + response
    labels = [-100] * len(prompt_ids) + response
    if len(ids) > max_length:
        ids, labels = ids[:max_length], labels[:max_length]
        if len(prompt_ids) < max_length:
            ids[-1] = labels[-1] = end_id
    return {"labels": labels, "input_ids": ids, "attention_mask": [1] * len(ids)}
# %% wrong: the attention mask hides the prompt
def encode_row(prompt_ids, response_ids, end_id, max_length):
    response = response_ids if response_ids and response_ids[-1] == end_id else response_ids + [end_id]
    ids = prompt_ids + response
    labels = [-100] * len(prompt_ids) + response
    if len(ids) > max_length:
        ids, labels = ids[:max_length], labels[:max_length]
        if len(prompt_ids) < max_length:
            ids[-1] = labels[-1] = end_id
    return {"input_ids": ids, "attention_mask": [0 if label == -100 else 1 for label in labels], "labels": labels}
