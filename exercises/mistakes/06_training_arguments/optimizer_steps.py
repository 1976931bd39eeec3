"""Answers to `optimizer_steps`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def optimizer_steps(rows, batch_size, accumulation, devices, epochs):
    def up(a, b):
        return (a + b - 1) // b
    return epochs * up(up(up(rows, devices), batch_size), accumulation)
# %% right
import math

def optimizer_steps(rows, batch_size, accumulation, devices, epochs):
    per_device = math.ceil(rows / devices)
    steps = 0
    for _ in range(epochs):
        steps += math.ceil(per_device / batch_size / accumulation)
    return steps
# %% wrong: the last, shorter window is lost
def optimizer_steps(rows, batch_size, accumulation, devices, epochs):
    return rows // (batch_size * accumulation * devices) * epochs
# %% wrong: accumulation is left out
import math

def optimizer_steps(rows, batch_size, accumulation, devices, epochs):
    return math.ceil(math.ceil(rows / devices) / batch_size) * epochs
# %% wrong: devices are left out
import math

def optimizer_steps(rows, batch_size, accumulation, devices, epochs):
    return math.ceil(math.ceil(rows / batch_size) / accumulation) * epochs
# %% wrong: the epochs are run together
import math

def optimizer_steps(rows, batch_size, accumulation, devices, epochs):
    batches = math.ceil(math.ceil(rows / devices) / batch_size)
    return math.ceil(batches * epochs / accumulation)
