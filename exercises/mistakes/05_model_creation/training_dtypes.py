"""Answers to `training_dtypes`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def training_dtypes(saved, has_bfloat16):
    autocast = None
    if has_bfloat16:
        autocast = "bfloat16"
    return {"weights": "float32", "autocast": autocast}
# %% right
def training_dtypes(saved, has_bfloat16):
    return dict(weights="float32", autocast=("bfloat16" if has_bfloat16 is True else None))
# %% wrong: the checkpoint's own dtype is trained
def training_dtypes(saved, has_bfloat16):
    return {"weights": saved, "autocast": "bfloat16" if has_bfloat16 else None}
# %% wrong: weights are trained in bfloat16
def training_dtypes(saved, has_bfloat16):
    if has_bfloat16:
        return {"weights": "bfloat16", "autocast": None}
    return {"weights": "float32", "autocast": None}
# %% wrong: autocast is asked for where the hardware has no bfloat16
def training_dtypes(saved, has_bfloat16):
    return {"weights": "float32", "autocast": "bfloat16"}
# %% wrong: autocast in the checkpoint's dtype
def training_dtypes(saved, has_bfloat16):
    autocast = saved
    if saved == "float32":
        autocast = None
    return {"weights": "float32", "autocast": autocast}
