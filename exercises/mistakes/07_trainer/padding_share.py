"""Answers to `padding_share`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def padding_share(lengths, batch_size):
    filled = total = 0
    for start in range(0, len(lengths), batch_size):
        batch = lengths[start : start + batch_size]
        total += max(batch) * len(batch)
        filled += sum(max(batch) - length for length in batch)
    return filled / total
# %% right
def padding_share(lengths, batch_size):
    remaining, padding, positions = list(lengths), 0, 0
    while remaining:
        batch, remaining = remaining[:batch_size], remaining[batch_size:]
        width = max(batch)
        positions += width * len(batch)
        padding += width * len(batch) - sum(batch)
    return padding / positions
# %% wrong: every batch is filled to the longest row of all
def padding_share(lengths, batch_size):
    longest = max(lengths)
    return sum(longest - length for length in lengths) / (longest * len(lengths))
# %% wrong: a mean of the batches' shares
def padding_share(lengths, batch_size):
    shares = []
    for start in range(0, len(lengths), batch_size):
        batch = lengths[start : start + batch_size]
        shares.append(1 - sum(batch) / (max(batch) * len(batch)))
    return sum(shares) / len(shares)
# %% wrong: the last, shorter batch is left out
def padding_share(lengths, batch_size):
    positions = tokens = 0
    for number in range(len(lengths) // batch_size):
        batch = lengths[number * batch_size : (number + 1) * batch_size]
        positions += max(batch) * batch_size
        tokens += sum(batch)
    return 1 - tokens / positions if positions else 0.0
