"""Answers to `training_memory`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def training_memory(parameters, states):
    weights = gradients = 4 * parameters
    return (weights + gradients + states * 4 * parameters) / 1024**3
# %% right
def training_memory(parameters, states):
    return parameters / 2**28 * (2 + states)
# %% wrong: gradients are missing
def training_memory(parameters, states):
    return (4 + 4 * states) * parameters / 2**30
# %% wrong: two bytes a number
def training_memory(parameters, states):
    return 2 * parameters * (2 + states) / 2**30
# %% wrong: GB (10^9 bytes)
def training_memory(parameters, states):
    return parameters * 4 * (2 + states) / 1_000_000_000
# %% wrong: the weights alone
def training_memory(parameters, states):
    return parameters * 4 / 2**30
