"""Answers to `next_token_pairs`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def next_token_pairs(ids):
    pairs = []
    seen = []
    for token in ids:
        if seen:
            pairs.append([list(seen), token])
        seen.append(token)
    return pairs
# %% right
def next_token_pairs(ids):
    return [(tuple(ids[: i + 1]), ids[i + 1]) for i in range(len(ids) - 1)]
# %% wrong: each token is asked for while it is read
def next_token_pairs(ids):
    return [[ids[: i + 1], ids[i]] for i in range(len(ids))]
# %% wrong: shifted twice
def next_token_pairs(ids):
    inputs, labels = ids[:-1], ids[1:]
    return [[inputs[:i], labels[i]] for i in range(1, len(labels))]
# %% wrong: only the last token is read
def next_token_pairs(ids):
    return [[[now], then] for now, then in zip(ids, ids[1:])]
# %% wrong: the first token is asked for with nothing before it
def next_token_pairs(ids):
    return [[ids[:i], token] for i, token in enumerate(ids)]
