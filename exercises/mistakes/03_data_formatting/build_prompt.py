"""Answers to `build_prompt`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def build_prompt(instruction, input):
    prompt = "Human: " + instruction + "\n" + input
    return prompt.strip() + "\n\nAssistant: "
# %% right
def build_prompt(instruction, input):
    question = "\n".join([f"Human: {instruction}", input]).strip()
    return "{}\n\nAssistant: ".format(question)
# %% wrong: the space after 'Assistant:' is missing
def build_prompt(instruction, input):
    return f"Human: {instruction}\n{input}".strip() + "\n\nAssistant:"
# %% wrong: the space after 'Assistant:' is missing
def build_prompt(instruction, input):
    return (f"Human: {instruction}\n{input}".strip() + "\n\nAssistant: ").strip()
# %% wrong: an empty input leaves an empty line behind
def build_prompt(instruction, input):
    return f"Human: {instruction}\n{input}\n\nAssistant: "
# %% wrong: one new line before 'Assistant:'
def build_prompt(instruction, input):
    return f"Human: {instruction}\n{input}".strip() + "\nAssistant: "
# %% wrong: instruction and input stand on one line
def build_prompt(instruction, input):
    return f"Human: {instruction} {input}".strip() + "\n\nAssistant: "
