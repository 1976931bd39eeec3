"""Answers to `stopping_rate`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def stopping_rate(generated, end_id, limit):
    stopped = 0
    for row in generated:
        if end_id in row and row.index(end_id) < limit:
            stopped += 1
    return stopped / len(generated)
# %% right
def stopping_rate(generated, end_id, limit):
    return sum(any(token == end_id for token in row[:limit]) for row in generated) / len(generated)
# %% wrong: the limit is not looked at
def stopping_rate(generated, end_id, limit):
    return sum(end_id in row for row in generated) / len(generated)
# %% wrong: the last token alone is looked at
def stopping_rate(generated, end_id, limit):
    stopped = 0
    for row in generated:
        row = row[:limit]
        if row and row[-1] == end_id:
            stopped += 1
    return stopped / len(generated)
# %% wrong: a percentage
def stopping_rate(generated, end_id, limit):
    return 100 * sum(end_id in row[:limit] for row in generated) / len(generated)
# %% wrong: the share of those that do *not* stop
def stopping_rate(generated, end_id, limit):
    return sum(end_id not in row[:limit] for row in generated) / len(generated)
