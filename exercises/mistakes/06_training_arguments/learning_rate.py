"""Answers to `learning_rate`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def learning_rate(step, peak, warmup, total):
    if step >= total:
        return 0.0
    if warmup and step < warmup:
        return peak * (step / warmup)
    return peak * (1 - (step - warmup) / (total - warmup))
# %% right
def learning_rate(step, peak, warmup, total):
    up = step / warmup if warmup > 0 else 1.0
    down = (total - step) / (total - warmup)
    return peak * max(0.0, min(up, down))
# %% wrong: the decay is counted from step 0
def learning_rate(step, peak, warmup, total):
    if step < warmup:
        return peak * step / warmup
    return peak * max(0.0, 1 - step / total)
# %% wrong: no warm-up
def learning_rate(step, peak, warmup, total):
    if step < warmup:
        return peak
    return peak * max(0, total - step) / (total - warmup)
# %% wrong: the rate stays at its peak
def learning_rate(step, peak, warmup, total):
    if step < warmup:
        return peak * step / warmup
    return peak
# %% wrong: the warm-up begins at step 1
def learning_rate(step, peak, warmup, total):
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * max(0, total - step) / (total - warmup)
