"""Answers to `top_p`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
import torch

def top_p(probabilities, p):
    values, order = torch.tensor(probabilities, dtype=torch.float64).sort(descending=True)
    before = values.cumsum(0) - values
    values = torch.where(before < p, values, 0)
    return torch.zeros_like(values).scatter(0, order, values / values.sum())
# %% right
def top_p(probabilities, p):
    result = [0.0] * len(probabilities)
    left, mass = dict(enumerate(probabilities)), 0.0
    while left and mass < p:
        token = max(left, key=left.get)
        result[token] = left.pop(token)
        mass += result[token]
    return [value / mass for value in result]
# %% wrong: the token that reaches p is left out
def top_p(probabilities, p):
    order = sorted(range(len(probabilities)), key=lambda i: -probabilities[i])
    kept, mass = [order[0]], probabilities[order[0]]
    for token in order[1:]:
        if mass + probabilities[token] > p:
            break
        kept.append(token)
        mass += probabilities[token]
    return [probabilities[i] / mass if i in kept else 0.0 for i in range(len(probabilities))]
# %% wrong: what is kept does not sum to 1
def top_p(probabilities, p):
    order = sorted(range(len(probabilities)), key=lambda i: -probabilities[i])
    result, mass = [0.0] * len(probabilities), 0.0
    for token in order:
        if mass >= p:
            break
        result[token] = probabilities[token]
        mass += probabilities[token]
    return result
# %% wrong: p is used as a threshold
def top_p(probabilities, p):
    kept = [q if q >= 1 - p else 0.0 for q in probabilities]
    total = sum(kept)
    return [q / total for q in kept] if total else probabilities
# %% wrong: taken in the order of the vocabulary
def top_p(probabilities, p):
    result, mass = [0.0] * len(probabilities), 0.0
    for token, probability in enumerate(probabilities):
        if mass >= p:
            break
        result[token] = probability
        mass += probability
    return [value / mass for value in result]
