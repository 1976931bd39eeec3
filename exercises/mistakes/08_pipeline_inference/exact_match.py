"""Answers to `exact_match`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def exact_match(expected, answers):
    right = 0
    for want, said in zip(expected, answers):
        if said.strip() == want.strip():
            right += 1
    return right / len(expected)
# %% right
def exact_match(expected, answers):
    pairs = list(zip((text.strip() for text in expected), (text.strip() for text in answers)))
    return len([1 for want, said in pairs if want == said]) / len(pairs)
# %% wrong: an answer that contains the right one counts
def exact_match(expected, answers):
    return sum(want.strip() in said for want, said in zip(expected, answers)) / len(expected)
# %% wrong: upper and lower case are not told apart
def exact_match(expected, answers):
    return sum(want.strip().lower() == said.strip().lower() for want, said in zip(expected, answers)) / len(expected)
# %% wrong: white space at the ends is not forgiven
def exact_match(expected, answers):
    return sum(want == said for want, said in zip(expected, answers)) / len(expected)
# %% wrong: all white space is ignored
def exact_match(expected, answers):
    def squeeze(text):
        return text.replace(" ", "").replace("\n", "")
    return sum(squeeze(want) == squeeze(said) for want, said in zip(expected, answers)) / len(expected)
