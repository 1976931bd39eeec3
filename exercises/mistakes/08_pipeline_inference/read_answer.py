"""Answers to `read_answer`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def read_answer(output_ids, prompt_length, end_id):
    ids = []
    for token in output_ids[prompt_length:]:
        if token == end_id:
            return {"ids": ids, "stopped": True}
        ids.append(token)
    return {"ids": ids, "stopped": False}
# %% right
def read_answer(output_ids, prompt_length, end_id):
    try:
        end = output_ids.index(end_id, prompt_length)
    except ValueError:
        return {"ids": output_ids[prompt_length:], "stopped": False}
    return {"ids": output_ids[prompt_length:end], "stopped": True}
# %% wrong: the question is still in front of the answer
def read_answer(output_ids, prompt_length, end_id):
    ids = list(output_ids)
    for place in range(prompt_length, len(ids)):
        if ids[place] == end_id:
            return {"ids": ids[:place], "stopped": True}
    return {"ids": ids, "stopped": False}
# %% wrong: the end token stays in the answer
def read_answer(output_ids, prompt_length, end_id):
    ids = []
    for token in output_ids[prompt_length:]:
        ids.append(token)
        if token == end_id:
            return {"ids": ids, "stopped": True}
    return {"ids": ids, "stopped": False}
# %% wrong: an end token in the prompt is taken for the answer's
def read_answer(output_ids, prompt_length, end_id):
    if end_id not in output_ids:
        return {"ids": output_ids[prompt_length:], "stopped": False}
    return {"ids": output_ids[prompt_length : output_ids.index(end_id)], "stopped": True}
# %% wrong: every answer counts as stopped
def read_answer(output_ids, prompt_length, end_id):
    ids = []
    for token in output_ids[prompt_length:]:
        if token == end_id:
            break
        ids.append(token)
    return {"ids": ids, "stopped": True}
# %% wrong: the end is looked for at the very end only
def read_answer(output_ids, prompt_length, end_id):
    ids = output_ids[prompt_length:]
    if ids and ids[-1] == end_id:
        return {"ids": ids[:-1], "stopped": True}
    return {"ids": ids, "stopped": False}
