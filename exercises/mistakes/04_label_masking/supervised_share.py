"""Answers to `supervised_share`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def supervised_share(labels):
    count = total = 0
    for row in labels:
        for label in row[1:]:
            total += 1
            if label != -100:
                count += 1
    return count / total
# %% right
def supervised_share(labels):
    shifted = [label for row in labels for label in row[1:]]
    return 1 - shifted.count(-100) / len(shifted)
# %% wrong: the first position counts too
def supervised_share(labels):
    flat = [label for row in labels for label in row]
    return sum(label != -100 for label in flat) / len(flat)
# %% wrong: a mean of the rows' shares
def supervised_share(labels):
    shares = [sum(label != -100 for label in row[1:]) / len(row[1:]) for row in labels]
    return sum(shares) / len(shares)
# %% wrong: the share of what is masked
def supervised_share(labels):
    shifted = [label for row in labels for label in row[1:]]
    return shifted.count(-100) / len(shifted)
