"""Answers to `newest_checkpoint`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def newest_checkpoint(folders):
    best, best_step = None, -1
    for name, files in folders.items():
        if not name.startswith("checkpoint-") or "trainer_state.json" not in files:
            continue
        step = int(name.split("-")[-1])
        if step > best_step:
            best, best_step = name, step
    return best
# %% right
import re

def newest_checkpoint(folders):
    steps = [int(m[1]) for name, files in folders.items() if (m := re.fullmatch(r"checkpoint-(\d+)", name)) and "trainer_state.json" in files]
    return f"checkpoint-{max(steps)}" if steps else None
# %% wrong: compared as texts
def newest_checkpoint(folders):
    whole = sorted(name for name, files in folders.items() if name.startswith("checkpoint-") and "trainer_state.json" in files)
    return whole[-1] if whole else None
# %% wrong: a checkpoint that was cut off is taken
def newest_checkpoint(folders):
    names = [name for name in folders if name.startswith("checkpoint-")]
    return max(names, key=lambda name: int(name.split("-")[1])) if names else None
# %% wrong: the oldest one
def newest_checkpoint(folders):
    names = [name for name, files in folders.items() if name.startswith("checkpoint-") and "trainer_state.json" in files]
    names.sort(key=lambda name: int(name.split("-")[1]))
    return names[0] if names else None
# %% wrong: the last one listed
def newest_checkpoint(folders):
    newest = None
    for name, files in folders.items():
        if name.startswith("checkpoint-") and "trainer_state.json" in files:
            newest = name
    return newest
