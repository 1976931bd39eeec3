"""Answers to `leaking_share`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def leaking_share(train, held_out):
    if len(held_out) == 0:
        return 0
    known = set()
    for row in train:
        known |= set(row["entity"].split())
    leaks = [row for row in held_out if known.intersection(row["entity"].split())]
    return len(leaks) / len(held_out)
# %% right
def leaking_share(train, held_out):
    known = " ".join(row["entity"] for row in train).split()
    hits = [any(name in known for name in row["entity"].split()) for row in held_out]
    return sum(hits) / max(1, len(hits))
# %% wrong: questions are compared
def leaking_share(train, held_out):
    seen = {row["instruction"] for row in train}
    return sum(row["instruction"] in seen for row in held_out) / len(held_out) if held_out else 0.0
# %% wrong: the whole entry is compared
def leaking_share(train, held_out):
    seen = {row["entity"] for row in train}
    return sum(row["entity"] in seen for row in held_out) / len(held_out) if held_out else 0.0
# %% wrong: the share is taken of the training rows
def leaking_share(train, held_out):
    asked = {name for row in held_out for name in row["entity"].split()}
    hits = sum(any(name in asked for name in row["entity"].split()) for row in train)
    return hits / len(train)
# %% wrong: a row counts only if all its things are known
def leaking_share(train, held_out):
    known = {name for row in train for name in row["entity"].split()}
    if not held_out:
        return 0.0
    return sum(all(name in known for name in row["entity"].split()) for row in held_out) / len(held_out)
