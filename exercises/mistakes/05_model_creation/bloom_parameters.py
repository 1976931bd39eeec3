"""Answers to `bloom_parameters`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def bloom_parameters(vocabulary, hidden, layers):
    layer = 12 * hidden**2 + 13 * hidden
    return vocabulary * hidden + layers * layer + 4 * hidden
# %% right
def bloom_parameters(vocabulary, hidden, layers):
    def linear(inputs, outputs):
        return inputs * outputs + outputs
    norm = hidden + hidden
    one = linear(hidden, 3 * hidden) + linear(hidden, hidden) + linear(hidden, 4 * hidden) + linear(4 * hidden, hidden) + 2 * norm
    return vocabulary * hidden + norm + layers * one + norm
# %% wrong: the output head is counted again
def bloom_parameters(vocabulary, hidden, layers):
    layer = 12 * hidden**2 + 13 * hidden
    return vocabulary * hidden + layers * layer + 4 * hidden + hidden * vocabulary
# %% wrong: biases are missing
def bloom_parameters(vocabulary, hidden, layers):
    attention = 4 * hidden * hidden
    mlp = 8 * hidden * hidden
    norms = 4 * hidden
    return vocabulary * hidden + layers * (attention + mlp + norms) + 4 * hidden
# %% wrong: layer norms are missing
def bloom_parameters(vocabulary, hidden, layers):
    attention = 4 * (hidden * hidden + hidden)
    mlp = hidden * 4 * hidden + 4 * hidden + 4 * hidden * hidden + hidden
    return vocabulary * hidden + layers * (attention + mlp)
# %% wrong: the feed-forward part has two matrices
def bloom_parameters(vocabulary, hidden, layers):
    attention = 4 * (hidden * hidden + hidden)
    mlp = 4 * hidden * hidden + 5 * hidden
    return vocabulary * hidden + layers * (attention + mlp + 4 * hidden) + 4 * hidden
