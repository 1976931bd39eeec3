"""Answers to `same_step`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def same_step(rows, per_device, most):
    found = []
    for processes in range(1, most + 1):
        for batches in range(1, rows + 1):
            if processes * batches * per_device == rows:
                found.append((processes, batches))
    return found
# %% right
def same_step(rows, per_device, most):
    if rows % per_device:
        return []
    together = rows // per_device
    return [[n, together // n] for n in range(1, min(most, together) + 1) if together % n == 0]
# %% wrong: batches are rounded down
def same_step(rows, per_device, most):
    found = []
    for n in range(1, most + 1):
        batches = rows // (per_device * n)
        if batches >= 1:
            found.append([n, batches])
    return found
# %% wrong: batches are rounded up
import math

def same_step(rows, per_device, most):
    return [[n, math.ceil(rows / per_device / n)] for n in range(1, most + 1)]
# %% wrong: a part of a batch
def same_step(rows, per_device, most):
    return [[n, rows / (per_device * n)] for n in range(1, most + 1)]
# %% wrong: the batches of all processes together
def same_step(rows, per_device, most):
    return [[n, rows // per_device] for n in range(1, most + 1) if rows % (n * per_device) == 0]
# %% wrong: the rows of a process
def same_step(rows, per_device, most):
    return [[n, rows // n] for n in range(1, most + 1) if rows % (n * per_device) == 0]
# %% wrong: at least one batch each
def same_step(rows, per_device, most):
    found = []
    for n in range(1, most + 1):
        at_a_time = n * per_device
        if at_a_time > rows:
            found.append([n, 1])
        elif rows % at_a_time == 0:
            found.append([n, rows // at_a_time])
    return found
# %% wrong: the largest number of processes is left out
def same_step(rows, per_device, most):
    return [[n, rows // (n * per_device)] for n in range(1, most) if rows % (n * per_device) == 0]
