"""Answers to `corrupt_spans`, right ones and wrong ones with the diagnosis that each must get. Not for students."""

# %% right
def corrupt_spans(ids, spans, sentinels, end_id):
    starts = {start: (end, sentinels[n]) for n, (start, end) in enumerate(spans)}
    read, said, i = [], [], 0
    while i < len(ids):
        if i in starts:
            end, sentinel = starts[i]
            read.append(sentinel)
            said.append(sentinel)
            said.extend(ids[i:end])
            i = end
        else:
            read.append(ids[i])
            i += 1
    return {"input_ids": read + [end_id], "labels": said + [end_id]}
# %% right
def corrupt_spans(ids, spans, sentinels, end_id):
    read, said = list(ids), []
    for n in reversed(range(len(spans))):
        start, end = spans[n]
        said = [sentinels[n], *ids[start:end], *said]
        read[start:end] = [sentinels[n]]
    return {"input_ids": [*read, end_id], "labels": [*said, end_id]}
# %% wrong: all gaps have the same sentinel
def corrupt_spans(ids, spans, sentinels, end_id):
    read, said, place = [], [], 0
    for start, end in spans:
        read += ids[place:start] + [sentinels[0]]
        said += [sentinels[0]] + ids[start:end]
        place = end
    return {"input_ids": read + ids[place:] + [end_id], "labels": said + [end_id]}
# %% wrong: what follows the last gap is lost
def corrupt_spans(ids, spans, sentinels, end_id):
    read, said, place = [], [], 0
    for (start, end), sentinel in zip(spans, sentinels):
        read += ids[place:start] + [sentinel]
        said += [sentinel] + ids[start:end]
        place = end
    return {"input_ids": read + [end_id], "labels": said + [end_id]}
# %% wrong: a sentinel for each missing token
def corrupt_spans(ids, spans, sentinels, end_id):
    read, said = list(ids), []
    for (start, end), sentinel in zip(spans, sentinels):
        said += [sentinel] + ids[start:end]
        for place in range(start, end):
            read[place] = sentinel
    return {"input_ids": read + [end_id], "labels": said + [end_id]}
# %% wrong: the decoder is never asked for the end
def corrupt_spans(ids, spans, sentinels, end_id):
    read, said, place = [], [], 0
    for n, (start, end) in enumerate(spans):
        read += ids[place:start] + [sentinels[n]]
        said += [sentinels[n]] + ids[start:end]
        place = end
    return {"input_ids": read + ids[place:] + [end_id], "labels": said}
