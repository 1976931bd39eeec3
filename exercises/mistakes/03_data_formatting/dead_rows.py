"""Answers to `dead_rows`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def dead_rows(lengths, max_length):
    dead = []
    for number in range(len(lengths)):
        if max_length - lengths[number][0] <= 0:
            dead.append(number)
    return dead
# %% right
def dead_rows(lengths, max_length):
    return [n for n, (prompt, response) in enumerate(lengths) if min(prompt + response, max_length) - prompt < 1]
# %% wrong: a prompt of exactly the limit leaves no room either
def dead_rows(lengths, max_length):
    return [number for number, (prompt, _) in enumerate(lengths) if prompt > max_length]
# %% wrong: every row that is cut counts as dead
def dead_rows(lengths, max_length):
    dead = []
    for number, (prompt, response) in enumerate(lengths):
        if prompt + response > max_length:
            dead.append(number)
    return dead
# %% wrong: the answer's length is compared
def dead_rows(lengths, max_length):
    return [number for number, (_, response) in enumerate(lengths) if response >= max_length]
