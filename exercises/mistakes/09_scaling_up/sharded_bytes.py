"""Answers to `sharded_bytes`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
import math

def sharded_bytes(parameters, world_size, stage):
    share = math.ceil(parameters / world_size)
    whole = {0: 4, 1: 2, 2: 1, 3: 0}[stage]
    return 4 * (whole * parameters + (4 - whole) * share)
# %% right
def sharded_bytes(parameters, world_size, stage):
    def held(first_stage):
        devices = world_size if stage >= first_stage else 1
        return 4 * ((parameters - 1) // devices + 1)
    weights, gradients, states = held(3), held(2), held(1)
    return weights + gradients + states + states
# %% wrong: everything is divided from stage 1 on
import math

def sharded_bytes(parameters, world_size, stage):
    if stage == 0:
        return 16 * parameters
    return 16 * math.ceil(parameters / world_size)
# %% wrong: everything is divided always
def sharded_bytes(parameters, world_size, stage):
    return (4 + 4 + 8) * ((parameters + world_size - 1) // world_size)
# %% wrong: gradients are divided before the states
import math

def sharded_bytes(parameters, world_size, stage):
    part = math.ceil(parameters / world_size)
    weights = part if stage == 3 else parameters
    gradients = part if stage >= 1 else parameters
    states = part if stage >= 2 else parameters
    return 4 * weights + 4 * gradients + 8 * states
# %% wrong: nothing is divided
def sharded_bytes(parameters, world_size, stage):
    return parameters * (4 + 4 + 8)
# %% wrong: one state for each parameter
import math

def sharded_bytes(parameters, world_size, stage):
    part = math.ceil(parameters / world_size)
    sizes = [parameters, parameters, parameters]
    for number in range(stage):
        sizes[number] = part
    return 4 * sum(sizes)
# %% wrong: the optimizer's states are missing
import math

def sharded_bytes(parameters, world_size, stage):
    part = math.ceil(parameters / world_size)
    return 4 * ((part if stage > 2 else parameters) + (part if stage > 1 else parameters))
# %% wrong: a part is rounded down
def sharded_bytes(parameters, world_size, stage):
    part = parameters // world_size
    weights = part if stage >= 3 else parameters
    gradients = part if stage >= 2 else parameters
    states = part if stage >= 1 else parameters
    return 4 * (weights + gradients + 2 * states)
# %% wrong: a number is split between devices
import math

def sharded_bytes(parameters, world_size, stage):
    held = 0
    for size, first in ((4, 3), (4, 2), (8, 1)):
        held += size * parameters / (world_size if stage >= first else 1)
    return math.ceil(held)
