"""The course's plots: plain data in, a figure out whose title states what was found.

Colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which colour-blind readers
can tell apart.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from types import MappingProxyType
from typing import ParamSpec

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from noto_cjk_sans_otc import FONT_PATH

from tutorial_lib.formatting import IGNORE_INDEX

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, GREY, PALE = "#CC79A7", "#56B4E9", "#999999", "#DDDDDD"
PART_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY, GREY)
CHINESE_FONT = "Noto Sans CJK SC"
STYLE = {
    "font.family": ["DejaVu Sans", CHINESE_FONT],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "legend.frameon": False,
}
CUT_OFF = {"edgecolor": RED, "hatch": "////", "linewidth": 0.5}
ROLE_STYLES = {
    "prompt": {"facecolor": SKY, "linewidth": 0},
    "response": {"facecolor": ORANGE, "linewidth": 0},
    "end": {"facecolor": GREEN, "linewidth": 0},
    "padding": {"facecolor": PALE, "linewidth": 0},
    "cut off": {"facecolor": "white", **CUT_OFF},
}
# Pyplot's state is global, and JupyterLab hands a slider's messages to another thread of the
# kernel than a running cell.
DRAWING = threading.RLock()

Parameters = ParamSpec("Parameters")


def _styled(draw: Callable[Parameters, Figure]) -> Callable[Parameters, Figure]:
    """Draw in the course's style and close the figure: a notebook then shows it only once."""

    @wraps(draw)
    def in_style(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Figure:
        with DRAWING:
            if CHINESE_FONT not in {font.name for font in font_manager.fontManager.ttflist}:
                font_manager.fontManager.addfont(str(FONT_PATH))
            with plt.rc_context(STYLE):
                figure = draw(*args, **kwargs)
            plt.close(figure)
        return figure

    return in_style


def _note(axes: Axes, text: str, x: float, y: float, offset: tuple[int, int], **style) -> None:
    """Write `text` beside (x in data, y as a share of the height), `offset` points away."""
    coordinates = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    axes.annotate(text, (x, y), offset, **coordinates, **style)


@_styled
def plot_lengths(lengths: Sequence[int], max_length: int) -> Figure:
    """Show how long the rows are (in tokens) and what a cut at `max_length` does."""
    lengths = np.asarray(lengths)
    whole, long = lengths[lengths <= max_length], lengths[lengths > max_length]
    figure, axes = plt.subplots(figsize=(8, 3.2))
    bins = np.arange(0, max(lengths.max(), max_length) + 16, 8)
    axes.hist(whole, bins=bins, color=BLUE, label=f"whole rows: {len(whole):,}")
    axes.hist(long, bins=bins, color=RED, label=f"rows that are cut: {len(long):,}")
    axes.axvline(max_length, color="black", linestyle="--", linewidth=1)
    _note(axes, f"max_length = {max_length}", max_length, 1, (4, -4), va="top")
    axes.legend(loc="center right")
    axes.set(
        yscale="log",
        xlabel="length of a row (tokens, prompt and response)",
        ylabel="rows (log scale)",
        title=f"Half of the rows have at most {int(np.median(lengths))} tokens; "
        f"{len(long) / len(lengths):.1%} are longer than {max_length}",
    )
    return figure


@_styled
def plot_counts(
    counts: Mapping[str, int], unit: str, title: str, *, as_given: bool = False
) -> Figure:
    """Show a count per name as horizontal bars, the largest on top unless `as_given`."""
    names = list(reversed(counts)) if as_given else sorted(counts, key=counts.__getitem__)
    figure, axes = plt.subplots(figsize=(8, 0.6 + 0.3 * len(names)))
    bars = axes.barh(names, [counts[name] for name in names], color=BLUE)
    axes.bar_label(bars, [f"{counts[name]:,}" for name in names], padding=3)
    axes.margins(x=0.12)
    axes.set(xlabel=unit, title=title)
    return figure


@_styled
def plot_roles(
    tokens: Sequence[str],
    labels: Sequence[int],
    end_id: int,
    title: str,
    attention_mask: Sequence[int] | None = None,
    *,
    ids: Sequence[int] | None = None,
    losses: Mapping[str, Sequence[float]] = MappingProxyType({}),
    kept: int | None = None,
) -> Figure:
    """Show an example token by token, coloured by role, with what else is known of each.

    Args:
        tokens: each token as readable text.
        labels: -100 or the token's id.
        end_id: id of the end-of-sequence token.
        title: what is to be seen.
        attention_mask: 0 where a token is padding; no padding if None.
        ids: the tokens' ids, shown above the labels.
        losses: name -> loss per token (nats), nan where there is none; the darker, the larger.
        kept: tokens that remain after the cut; all if None. The others have no label or loss.
    """
    kept = len(tokens) if kept is None else kept
    attention_mask = attention_mask or [1] * len(tokens)
    roles = [_role(label, seen, end_id) for label, seen in zip(labels, attention_mask, strict=True)]
    roles[kept:] = ["cut off"] * (len(tokens) - kept)
    lines = {} if ids is None else {"id": [str(i) for i in ids]}
    lines["label"] = [str(label) if i < kept else "" for i, label in enumerate(labels)]
    for name, values in losses.items():
        lines[name] = ["" if np.isnan(value) else f"{value:.2f}" for value in values]
    named = len(lines) > 1  # a single line is named by the title
    margin = 0.7 * max(map(len, lines)) if named else 0.0
    widths = [max(map(_width, column)) for column in zip(tokens, *lines.values(), strict=True)]
    boxes, rows = _flow(widths, line_width=62.0 - margin)
    members = [[i for i, box in enumerate(boxes) if box[0] == row] for row in range(rows)]
    # A row shows only lines that have a text there: a row of prompt has no losses.
    shown = [[name for name in lines if any(lines[name][i] for i in row)] for row in members]
    tops = np.cumsum([0, *(0.56 + 0.32 * len(names) for names in shown)])
    figure, axes = plt.subplots(figsize=(10, 0.7 + 0.8 * tops[-1]))
    largest = np.nanmax([*(v for values in losses.values() for v in values), 0.0]) or 1.0
    for i, (row, left, width) in enumerate(boxes):
        left, top = left + margin, -tops[row]
        middle, inner = left + width / 2, width - 0.12
        style = ROLE_STYLES[roles[i]]
        axes.add_patch(Rectangle((left + 0.06, top - 0.42), inner, 0.42, alpha=0.85, **style))
        axes.text(middle, top - 0.21, tokens[i], ha="center", va="center", fontsize=10)
        for number, name in enumerate(shown[row]):
            y, text = top - 0.58 - 0.32 * number, lines[name][i]
            if name in losses and text:
                shade = {"facecolor": PURPLE, "alpha": losses[name][i] / largest, "linewidth": 0}
                axes.add_patch(Rectangle((left + 0.06, y - 0.15), inner, 0.3, **shade))
            axes.text(middle, y, text, ha="center", va="center", fontsize=8, family="monospace")
            if named and left == margin:
                axes.text(0, y, name, va="center", fontsize=8, color="#444444")
    axes.axis("off")
    axes.set(xlim=(0, 62), ylim=(-tops[-1] + 0.05, 0.1))
    patches = [Patch(label=role, **ROLE_STYLES[role]) for role in ROLE_STYLES if role in roles]
    axes.legend(handles=patches, loc="lower left", bbox_to_anchor=(0, 1), ncols=5, fontsize=9)
    axes.set_title(title, pad=24)
    return figure


@_styled
def plot_batches(batches: Mapping[str, Sequence[Sequence[int]]]) -> Figure:
    """Show which cells of batches are padding: name -> attention mask (rows of 0 and 1)."""
    size = (9, 1.5 * len(batches) + 0.7)
    figure, all_axes = plt.subplots(len(batches), 1, figsize=size, squeeze=False)
    for axes, (name, mask) in zip(all_axes[:, 0], batches.items(), strict=True):
        mask = np.asarray(mask)
        _draw_mask(axes, mask, aspect="auto", interpolation="nearest")
        title = f"{name}: {1 - mask.mean():.0%} of its {mask.size:,} cells are padding"
        axes.set(title=title, ylabel="row", yticks=range(len(mask)))
    all_axes[-1, 0].set_xlabel("position in the batch (tokens)")
    patches = [Patch(color=BLUE, label="token"), Patch(color=PALE, label="padding")]
    figure.legend(handles=patches, loc="outside lower right", ncols=2)
    return figure


@_styled
def plot_schedule(schedules: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Show learning rates over the optimizer steps, a line per schedule."""
    styles = [(BLUE, "-", 1.6), (ORANGE, "--", 1.6), (GREEN, "-.", 1.6), (RED, ":", 1.6)]
    figure, axes = plt.subplots(figsize=(8, 3))
    _draw_runs(axes, schedules, styles)
    axes.set(ylabel="learning rate", title=title)
    return figure


@_styled
def plot_curves(curves: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Show losses of runs over their optimizer steps; the first is thick, below the others."""
    figure, axes = plt.subplots(figsize=(8, 2.8))
    _draw_runs(axes, curves, [(SKY, "-", 6), (RED, "--", 1.6), ("black", ":", 1.6)])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(ylabel="loss (nats per token)", title=title)
    axes.set_ylim(bottom=0)
    return figure


@_styled
def plot_loss(
    steps: Sequence[int],
    losses: Sequence[float],
    title: str,
    xlabel: str = "optimizer step",
    ylabel: str = "loss (nats per token)",
    window: int = 1,
) -> Figure:
    """Show a loss over steps or positions; a `window` above 1 adds its moving mean."""
    figure, axes = plt.subplots(figsize=(8, 3))
    _draw_loss(axes, steps, losses, window)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.set_ylim(bottom=0)
    return figure


@_styled
def plot_progress(
    steps: Sequence[int],
    losses: Sequence[float],
    rates: Sequence[float],
    title: str,
    *,
    max_steps: int,
    window: int = 5,
) -> Figure:
    """Show a training as it goes: loss with its moving mean, and learning rate.

    Args:
        steps: optimizer steps at which the loss was logged.
        losses: mean loss since the last log (nats per supervised token).
        rates: learning rate at that step.
        title: what is to be seen.
        max_steps: steps of the whole run; the axis ends there.
        window: logs in the moving mean.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8), width_ratios=(2, 1))
    _draw_loss(left, steps, losses, window)
    right.plot(steps, rates, color=GREEN, marker="o", markersize=3)
    right.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    for axes, ylabel in ((left, "loss (nats per token)"), (right, "learning rate")):
        axes.set(xlabel="optimizer step", ylabel=ylabel, xlim=(0, max_steps + 1))
        axes.set_ylim(bottom=0)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@_styled
def plot_parts(parts: Mapping[str, float], unit: str, title: str) -> Figure:
    """Show how a whole divides into parts, as one stacked bar with their shares."""
    total = sum(parts.values())
    figure, axes = plt.subplots(figsize=(8, 1.9))
    left = 0.0
    for (name, value), colour in zip(parts.items(), PART_COLOURS, strict=False):
        amount = f"{value:,}" if isinstance(value, int) else f"{value:,.3g}"
        label = f"{name}: {amount} ({value / total:.1%})"
        axes.barh([0], [value], left=left, color=colour, label=label, edgecolor="white")
        left += value
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.55), fontsize=9)
    axes.set(yticks=[], xlabel=unit, title=title)
    return figure


@_styled
def plot_next_tokens(candidates: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """Show the most likely next tokens of models side by side: name -> {token: probability}."""
    figure, all_axes = plt.subplots(1, len(candidates), figsize=(8, 2.8), squeeze=False)
    for axes, name, colour in zip(all_axes[0], candidates, (GREY, BLUE, ORANGE), strict=False):
        tokens = list(candidates[name])[::-1]
        shares = [candidates[name][token] for token in tokens]
        bars = axes.barh(range(len(tokens)), shares, color=colour)
        axes.bar_label(bars, [f"{share:.1%}" for share in shares], padding=3)
        # A token that is a part of a character has no glyph of its own.
        axes.set_yticks(range(len(tokens)), [t.replace("\ufffd", "‹byte›") for t in tokens])
        axes.set(xlim=(0, 1.25), xticks=[0, 0.5, 1], xlabel="probability")
        axes.set_title(name, fontsize=10)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@_styled
def plot_before_after(
    before: Mapping[str, float],
    after: Mapping[str, float],
    title: str,
    labels: tuple[str, str] = ("before", "after"),
) -> Figure:
    """Show shares (0 to 1) before and after training, or as `labels` say: two bars per group."""
    exactly = "answered exactly (% of the questions)"
    xlabel = exactly if labels == ("before", "after") else "% of the questions"
    groups = {name: {labels[0]: before.get(name, 0), labels[1]: after[name]} for name in after}
    return _grouped_bars(groups, (GREY, BLUE), 0.42, xlabel, title)


@_styled
def plot_abilities(shares: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """Show shares (0 to 1) of models at tasks: task -> {model: share}; a model may be absent."""
    xlabel = "right (% of the statements)"
    return _grouped_bars(shares, (BLUE, ORANGE, GREEN, PURPLE), 0.85, xlabel, title)


@_styled
def plot_examples(rows: Mapping[str, Sequence[str]], targets: Sequence[bool], title: str) -> Figure:
    """Show a training example as a table, a column per token; targets are coloured.

    Args:
        rows: name of a row ("input", "label") -> its tokens as readable text; equally long.
        targets: per token, whether it is a target.
        title: what is to be seen.
    """
    figure, axes = plt.subplots(figsize=(9, 0.5 + 0.45 * len(rows)))
    for line, (name, tokens) in enumerate(rows.items()):
        axes.text(-0.15, -line, name, ha="right", va="center")
        for column, (token, target) in enumerate(zip(tokens, targets, strict=True)):
            style = ROLE_STYLES["response" if target else "padding"]
            axes.add_patch(Rectangle((column + 0.03, -line - 0.42), 0.94, 0.84, **style))
            axes.text(column + 0.5, -line, token, ha="center", va="center")
    axes.axis("off")
    axes.set(xlim=(-1.2, len(targets)), ylim=(-len(rows) + 0.5, 0.5), title=title)
    return figure


@_styled
def plot_attention(masks: Mapping[str, Sequence[Sequence[bool]]], title: str) -> Figure:
    """Show attention masks side by side: dark where a token (row) sees another (column)."""
    figure, all_axes = plt.subplots(1, len(masks), figsize=(2.9 * len(masks), 3.4), squeeze=False)
    for axes, (name, mask) in zip(all_axes[0], masks.items(), strict=True):
        _draw_mask(axes, np.asarray(mask))
        axes.set_title(f"{name}: {np.asarray(mask).mean():.0%} seen", fontsize=10)
        axes.set(xlabel="looks at token", ylabel="token")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@_styled
def plot_memory(
    parts: Mapping[str, Mapping[str, float]],
    cards: Sequence[int],
    title: str,
    marks: Mapping[str, float] = MappingProxyType({}),
) -> Figure:
    """Show stacked bars of memory against graphics cards.

    Args:
        parts: name of a bar -> {part: bytes}.
        cards: memory of cards to compare with (GiB).
        title: what is to be seen.
        marks: text -> GiB: figures of others, each a dotted line.
    """
    figure, axes = plt.subplots(figsize=(9, 2.2 + 0.5 * len(parts)))
    names = list(dict.fromkeys(part for bar in parts.values() for part in bar))
    left = np.zeros(len(parts))
    bars = {"height": 0.6, "edgecolor": "white"}
    for name, colour in zip(names, PART_COLOURS, strict=False):
        values = np.array([bar.get(name, 0) for bar in parts.values()]) / 2**30
        axes.barh(list(parts), values, left=left, color=colour, label=name, **bars)
        left += values
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    for position, total in enumerate(left):
        style = {"textcoords": "offset points", "va": "center", "bbox": box}
        axes.annotate(f"{total:,.3g} GiB", (total, position), (4, 0), **style)
    compared = [card for card in cards if card < 2.5 * left.max()] or [min(cards)]
    for card in compared:
        axes.axvline(card, color="black", linestyle="--", linewidth=0.8)
        _note(axes, f"{card}", card, 1, (2, -2), va="top", fontsize=8)
    for text, size in marks.items():
        axes.axvline(size, color=RED, linestyle=":", linewidth=2)
        _note(axes, text, size, 0, (3, 4), color=RED, fontsize=8)
    axes.invert_yaxis()
    largest = max([*left, *compared, *marks.values()])
    xlabel = "memory (GiB); dashed: the memory of usual graphics cards"
    axes.set(xlim=(0, 1.18 * largest), xlabel=xlabel)
    figure.legend(loc="outside lower center", ncols=len(names))
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@_styled
def plot_trade(points: Mapping[str, tuple[float, float]], cost: str, title: str) -> Figure:
    """Show cost against success: name -> (cost, share of questions answered exactly, 0 to 1)."""
    figure, axes = plt.subplots(figsize=(8, 3))
    for name, colour, marker in zip(points, (BLUE, ORANGE, GREEN, PURPLE), "osD^", strict=False):
        point = (points[name][0], 100 * points[name][1])
        axes.scatter(*point, color=colour, marker=marker, s=70)
        style = {"textcoords": "offset points", "ha": "center", "fontsize": 9}
        axes.annotate(name, point, (0, -16), **style)
    axes.margins(x=0.15)
    ylabel = "held-out questions\nanswered exactly (%)"
    axes.set(xscale="log", ylim=(0, 105), xlabel=cost, ylabel=ylabel, title=title)
    return figure


def moving_mean(values: Sequence[float], window: int) -> list[float]:
    """Return, for each value, the mean of it and of up to `window` - 1 before it."""
    return [float(np.mean(values[max(0, end - window) : end])) for end in range(1, len(values) + 1)]


def _draw_mask(axes: Axes, mask: np.ndarray, **options) -> None:
    axes.imshow(mask, cmap=ListedColormap([PALE, BLUE]), vmin=0, vmax=1, **options)


def _draw_runs(
    axes: Axes, runs: Mapping[str, Sequence[float]], styles: Sequence[tuple[str, str, float]]
) -> None:
    """Draw a line per run over its steps; `styles`: (colour, line, width)."""
    for (name, values), (colour, line, width) in zip(runs.items(), styles, strict=False):
        steps = range(1, len(values) + 1)
        axes.plot(steps, values, line, color=colour, linewidth=width, label=name)
    axes.set_xlabel("optimizer step")
    axes.legend()


def _draw_loss(axes: Axes, steps: Sequence[int], losses: Sequence[float], window: int) -> None:
    dots = {"marker": "o", "markersize": 3}
    if window == 1:
        axes.plot(steps, losses, color=BLUE, **dots)
        return
    axes.plot(steps, losses, color=SKY, linestyle="none", label="each log", **dots)
    axes.plot(steps, moving_mean(losses, window), color=BLUE, label=f"mean of the last {window}")
    axes.legend()


def _grouped_bars(
    shares: Mapping[str, Mapping[str, float]],
    colours: Sequence[str],
    group_height: float,
    xlabel: str,
    title: str,
) -> Figure:
    """Draw a group of horizontal bars per name, the first on top, a colour per series."""
    series = list(dict.fromkeys(name for group in shares.values() for name in group))
    figure, axes = plt.subplots(figsize=(8, 0.9 + group_height * len(shares)))
    centres, height = np.arange(len(shares))[::-1], 0.8 / len(series)
    for index, (name, colour) in enumerate(zip(series, colours, strict=False)):
        values = [group.get(name) for group in shares.values()]
        positions = centres + (len(series) / 2 - index - 0.5) * height
        widths = [100 * (value or 0) for value in values]
        bars = axes.barh(positions, widths, height=0.95 * height, color=colour, label=name)
        texts = ["can't be asked" if value is None else f"{value:.0%}" for value in values]
        axes.bar_label(bars, texts, padding=3, fontsize=8)
    axes.set_yticks(centres, list(shares))
    axes.set(xlim=(0, 112), xlabel=xlabel, title=title)
    figure.legend(loc="outside lower center", ncols=len(series))
    return figure


def _width(text: str) -> float:
    """Width of a text in the units of plot_roles; a Chinese character takes nearly two."""
    return 0.9 + sum(1.7 if ord(char) > 0x2E80 else 0.95 for char in text)


def _flow(widths: Sequence[float], line_width: float) -> tuple[list[tuple[int, float, float]], int]:
    """Set boxes from left to right, row after row; return (row, left, width) and the rows."""
    boxes, row, left = [], 0, 0.0
    for width in widths:
        if left and left + width > line_width:
            row, left = row + 1, 0.0
        boxes.append((row, left, width))
        left += width
    return boxes, row + 1


def _role(label: int, seen: int, end_id: int) -> str:
    if not seen:
        return "padding"
    if label == IGNORE_INDEX:
        return "prompt"
    return "end" if label == end_id else "response"
