"""Answers to `bad_rows`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def bad_rows(rows):
    bad = []
    for number, row in enumerate(rows):
        for name in ("instruction", "output"):
            if not isinstance(row.get(name), str) or not row[name].strip():
                bad.append(number)
                break
        else:
            if not isinstance(row.get("input", ""), str):
                bad.append(number)
    return bad
# %% right
def bad_rows(rows):
    def good(row):
        try:
            return bool(row["instruction"].strip() and row["output"].strip()) and type(row.get("input", "")) is str
        except (KeyError, AttributeError):
            return False
    return [n for n in range(len(rows)) if not good(rows[n])]
# %% wrong: an empty input is taken for a fault
def bad_rows(rows):
    def ok(value):
        return isinstance(value, str) and len(value.strip()) > 0
    return [n for n, row in enumerate(rows) if not (ok(row.get("instruction")) and ok(row.get("input")) and ok(row.get("output")))]
# %% wrong: white space is taken for an answer
def bad_rows(rows):
    bad = []
    for n, row in enumerate(rows):
        if not row.get("instruction") or not row.get("output") or not isinstance(row.get("input", ""), str):
            bad.append(n)
    return bad
# %% wrong: rows are counted from 1
def bad_rows(rows):
    bad = []
    for n, row in enumerate(rows, start=1):
        texts = [row.get("instruction"), row.get("output")]
        if any(not isinstance(t, str) or not t.strip() for t in texts) or not isinstance(row.get("input", ""), str):
            bad.append(n)
    return bad
# %% wrong: only the output is looked at
def bad_rows(rows):
    return [n for n, row in enumerate(rows) if not isinstance(row.get("output"), str) or row["output"].strip() == ""]
