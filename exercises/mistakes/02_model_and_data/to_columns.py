"""Answers to `to_columns`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def to_columns(rows, columns):
    out = []
    for row in rows:
        new = {}
        for name in ("instruction", "input", "output"):
            new[name] = row.get(columns.get(name, name))
        if new["input"] is None:
            new["input"] = ""
        out.append(new)
    return out
# %% right
def to_columns(rows, columns):
    names = {"instruction": "instruction", "input": "input", "output": "output"} | columns
    return [
        {"instruction": r[names["instruction"]], "input": r.get(names["input"], "") or "", "output": r[names["output"]]}
        for r in rows
    ]
# %% wrong: further columns are kept
def to_columns(rows, columns):
    out = []
    for row in rows:
        new = {key: value for key, value in row.items() if key not in columns.values()}
        for name in ("instruction", "input", "output"):
            new[name] = row.get(columns.get(name, name)) or ""
        out.append(new)
    return out
# %% wrong: a missing input became the text 'None'
def to_columns(rows, columns):
    return [
        {name: str(row.get(columns.get(name, name))) for name in ("instruction", "input", "output")} for row in rows
    ]
# %% wrong: a missing input stays None
def to_columns(rows, columns):
    return [{name: row.get(columns.get(name, name)) for name in ["instruction", "input", "output"]} for row in rows]
# %% wrong: the mapping is read the wrong way round
def to_columns(rows, columns):
    back = {old: new for new, old in columns.items()}
    out = []
    for row in rows:
        out.append({
            "instruction": row[back.get("instruction", "instruction")],
            "input": row.get(back.get("input", "input")) or "",
            "output": row[back.get("output", "output")],
        })
    return out
