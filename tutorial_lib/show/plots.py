"""The course's pictures. Each function takes plain data and returns a figure, whose title states what was found.

Colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which colour-blind readers can tell apart.
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
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from noto_cjk_sans_otc import FONT_PATH

from tutorial_lib.formatting import IGNORE_INDEX

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#999999",
)
CHINESE_FONT = "Noto Sans CJK SC"
STYLE = {
    "font.family": ["DejaVu Sans", CHINESE_FONT],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
}
ROLE_COLOURS = {
    "prompt": SKY,
    "response": ORANGE,
    "end": GREEN,
    "padding": "#DDDDDD",
    "cut off": "#FFFFFF",
}
# Pyplot's state is global, and JupyterLab hands a slider's messages to another thread of the kernel than a running cell.
DRAWING = threading.RLock()

Parameters = ParamSpec("Parameters")


def _picture(draw: Callable[Parameters, Figure]) -> Callable[Parameters, Figure]:
    """Draw in the course's style and close the figure: a notebook then shows it once, as the cell's value."""

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


@_picture
def plot_lengths(lengths: Sequence[int], max_length: int) -> Figure:
    """Show how long the rows are (in tokens) and what a cut at `max_length` does."""
    lengths = np.asarray(lengths)
    cut = int((lengths > max_length).sum())
    figure, axes = plt.subplots(figsize=(8, 3.2))
    bins = np.arange(0, max(lengths.max(), max_length) + 16, 8)
    axes.hist(
        lengths[lengths <= max_length],
        bins=bins,
        color=BLUE,
        label=f"whole rows: {len(lengths) - cut:,}",
    )
    axes.hist(
        lengths[lengths > max_length], bins=bins, color=RED, label=f"rows that are cut: {cut:,}"
    )
    axes.axvline(max_length, color="black", linestyle="--", linewidth=1)
    axes.annotate(
        f"max_length = {max_length}",
        (max_length, 1),
        (4, -4),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        va="top",
    )
    axes.set_yscale("log")
    axes.set_xlabel("length of a row (tokens, prompt and response)")
    axes.set_ylabel("rows (log scale)")
    axes.legend(frameon=False, loc="center right")
    axes.set_title(
        f"Half of the rows have at most {int(np.median(lengths))} tokens; {cut / len(lengths):.1%} are longer than {max_length}"
    )
    return figure


@_picture
def plot_counts(
    counts: Mapping[str, int], unit: str, title: str, *, as_given: bool = False
) -> Figure:
    """Show a count for each name as horizontal bars: the largest on top, or the first one where their order says something."""
    names = list(reversed(counts)) if as_given else sorted(counts, key=counts.__getitem__)
    figure, axes = plt.subplots(figsize=(8, 0.6 + 0.3 * len(names)))
    bars = axes.barh(names, [counts[name] for name in names], color=BLUE)
    axes.bar_label(bars, [f"{counts[name]:,}" for name in names], padding=3)
    axes.set_xlabel(unit)
    axes.margins(x=0.12)
    axes.set_title(title)
    return figure


@_picture
def plot_roles(
    tokens: Sequence[str],
    labels: Sequence[int],
    end_id: int,
    title: str,
    attention_mask: Sequence[int] | None = None,
    *,
    ids: Sequence[int] | None = None,
    losses: Mapping[str, Sequence[float]] | None = None,
    kept: int | None = None,
) -> Figure:
    """Show a row token by token, coloured by role; below each token its label and what else is given.

    Args:
        tokens: each token as readable text.
        labels: -100 or the token's id.
        end_id: id of the end-of-sequence token.
        title: what is to be seen.
        attention_mask: 0 where a token is padding; no padding if not given.
        ids: the tokens' ids, shown above the labels.
        losses: name -> loss of each token (nats), nan where none is taken; the darker, the larger.
        kept: how many tokens remain after the cut; all if not given. Tokens that are cut off have neither label nor loss.
    """
    kept = len(tokens) if kept is None else kept
    roles = [
        _role(label, seen, end_id)
        for label, seen in zip(labels, attention_mask or [1] * len(tokens), strict=True)
    ]
    roles[kept:] = ["cut off"] * (len(tokens) - kept)
    lines: dict[str, list[str]] = {"id": [str(i) for i in ids]} if ids is not None else {}
    lines["label"] = [str(label) if place < kept else "" for place, label in enumerate(labels)]
    losses = losses or {}
    for name, values in losses.items():
        lines[name] = ["" if np.isnan(value) else f"{value:.2f}" for value in values]
    columns = list(zip(tokens, *lines.values(), strict=True))
    named = len(lines) > 1  # a single line below each token is named by the title
    margin = 0.7 * max(map(len, lines)) if named else 0.0
    boxes, rows = _flow([max(map(_width, column)) for column in columns], line_width=62.0 - margin)
    # A row shows the lines that have something to say in it: a row of prompt has no losses.
    said = [
        [
            name
            for name, texts in lines.items()
            if any(texts[i] for i, box in enumerate(boxes) if box[0] == row)
        ]
        for row in range(rows)
    ]
    tops = np.cumsum([0, *(0.56 + 0.32 * len(names) for names in said)])
    figure, axes = plt.subplots(figsize=(10, 0.7 + 0.8 * tops[-1]))
    highest = (
        max(
            (value for values in losses.values() for value in values if not np.isnan(value)),
            default=1.0,
        )
        or 1.0
    )
    for index, (row, left, width) in enumerate(boxes):
        top, left = -tops[row], left + margin
        edge = (
            {"edgecolor": RED, "hatch": "////", "linewidth": 0.5}
            if roles[index] == "cut off"
            else {"linewidth": 0}
        )
        axes.add_patch(
            plt.Rectangle(
                (left + 0.06, top - 0.42),
                width - 0.12,
                0.42,
                facecolor=ROLE_COLOURS[roles[index]],
                alpha=0.85,
                **edge,
            )
        )
        axes.text(
            left + width / 2, top - 0.21, tokens[index], ha="center", va="center", fontsize=10
        )
        for number, name in enumerate(said[row]):
            y = top - 0.58 - 0.32 * number
            if name in losses and lines[name][index]:
                share = losses[name][index] / highest
                axes.add_patch(
                    plt.Rectangle(
                        (left + 0.06, y - 0.15),
                        width - 0.12,
                        0.3,
                        facecolor=PURPLE,
                        alpha=share,
                        linewidth=0,
                    )
                )
            axes.text(
                left + width / 2,
                y,
                lines[name][index],
                ha="center",
                va="center",
                fontsize=8,
                family="monospace",
            )
    for row in range(rows if named else 0):
        for number, name in enumerate(said[row]):
            axes.text(
                0, -tops[row] - 0.58 - 0.32 * number, name, va="center", fontsize=8, color="#444444"
            )
    axes.set_xlim(0, 62)
    axes.set_ylim(-tops[-1] + 0.05, 0.1)
    axes.axis("off")
    axes.legend(
        handles=[
            Patch(
                facecolor=ROLE_COLOURS[role],
                label=role,
                **({"edgecolor": RED, "hatch": "////"} if role == "cut off" else {}),
            )
            for role in ROLE_COLOURS
            if role in roles
        ],
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=5,
        frameon=False,
        fontsize=9,
    )
    axes.set_title(title, pad=24)
    return figure


@_picture
def plot_batches(batches: Mapping[str, Sequence[Sequence[int]]]) -> Figure:
    """Show which cells of one or more batches are padding.

    Args:
        batches: name of a batch -> its attention mask (rows of 0 and 1).
    """
    figure, all_axes = plt.subplots(
        len(batches), 1, figsize=(9, 1.5 * len(batches) + 0.7), squeeze=False
    )
    for axes, (name, mask) in zip(all_axes[:, 0], batches.items(), strict=True):
        mask = np.asarray(mask)
        axes.imshow(
            mask,
            aspect="auto",
            cmap=ListedColormap([ROLE_COLOURS["padding"], BLUE]),
            vmin=0,
            vmax=1,
            interpolation="nearest",
        )
        axes.set_title(f"{name}: {1 - mask.mean():.0%} of its {mask.size:,} cells are padding")
        axes.set_ylabel("row")
        axes.set_yticks(range(len(mask)))
    all_axes[-1, 0].set_xlabel("position in the batch (tokens)")
    figure.legend(
        handles=[
            Patch(color=BLUE, label="token"),
            Patch(color=ROLE_COLOURS["padding"], label="padding"),
        ],
        loc="outside lower right",
        ncols=2,
        frameon=False,
    )
    return figure


@_picture
def plot_schedule(schedules: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Show learning rates over the optimizer steps, a line a schedule."""
    figure, axes = plt.subplots(figsize=(8, 3))
    for (name, rates), colour, style in zip(
        schedules.items(), (BLUE, ORANGE, GREEN, RED), ("-", "--", "-.", ":"), strict=False
    ):
        axes.plot(range(1, len(rates) + 1), rates, color=colour, linestyle=style, label=name)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("learning rate")
    axes.legend(frameon=False)
    axes.set_title(title)
    return figure


@_picture
def plot_loss(
    steps: Sequence[int],
    losses: Sequence[float],
    title: str,
    xlabel: str = "optimizer step",
    ylabel: str = "loss (nats per token)",
    window: int = 1,
) -> Figure:
    """Show a loss over steps, or over positions; with a `window` above 1, its moving mean as a line through the points."""
    figure, axes = plt.subplots(figsize=(8, 3))
    _draw_loss(axes, steps, losses, window)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_ylim(bottom=0)
    axes.set_title(title)
    return figure


@_picture
def plot_progress(
    steps: Sequence[int],
    losses: Sequence[float],
    rates: Sequence[float],
    title: str,
    *,
    max_steps: int,
    window: int = 5,
) -> Figure:
    """Show a training as it goes: the loss with its moving mean, and the learning rate, over the steps of the whole run.

    Args:
        steps: optimizer steps at which was logged.
        losses: mean loss since the last log (nats a supervised token), one a step in `steps`.
        rates: learning rate at that step.
        title: what is to be seen.
        max_steps: of the whole run; the axis ends there.
        window: logs that the moving mean takes.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8), width_ratios=(2, 1))
    _draw_loss(left, steps, losses, window)
    left.set_ylabel("loss (nats per token)")
    left.set_ylim(bottom=0)
    right.plot(steps, rates, color=GREEN, marker="o", markersize=3)
    right.set_ylabel("learning rate")
    right.set_ylim(bottom=0)
    right.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    for axes in (left, right):
        axes.set_xlim(0, max_steps + 1)
        axes.set_xlabel("optimizer step")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@_picture
def plot_parts(parts: Mapping[str, float], unit: str, title: str) -> Figure:
    """Show how a whole divides into parts, as one stacked bar with the shares written beside."""
    total = sum(parts.values())
    figure, axes = plt.subplots(figsize=(8, 1.9))
    left = 0.0
    for (name, value), colour in zip(
        parts.items(), (BLUE, ORANGE, GREEN, PURPLE, RED, SKY, GREY), strict=False
    ):
        amount = f"{value:,}" if isinstance(value, int) else f"{value:,.3g}"
        axes.barh(
            [0],
            [value],
            left=left,
            color=colour,
            label=f"{name}: {amount} ({value / total:.1%})",
            edgecolor="white",
        )
        left += value
    axes.set_yticks([])
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel(unit)
    axes.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.55), fontsize=9)
    axes.set_title(title)
    return figure


@_picture
def plot_next_tokens(candidates: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """Show the likeliest next tokens of one or more models, side by side.

    Args:
        candidates: name of a model -> {token: probability}.
        title: what is to be seen.
    """
    figure, all_axes = plt.subplots(1, len(candidates), figsize=(8, 2.8), squeeze=False)
    for axes, (name, probabilities), colour in zip(
        all_axes[0], candidates.items(), (GREY, BLUE, ORANGE), strict=False
    ):
        tokens = list(probabilities)[::-1]
        bars = axes.barh(
            range(len(tokens)), [probabilities[token] for token in tokens], color=colour
        )
        axes.bar_label(bars, [f"{probabilities[token]:.1%}" for token in tokens], padding=3)
        # A token that is part of a character only has no picture of its own.
        axes.set_yticks(range(len(tokens)), [token.replace("\ufffd", "‹byte›") for token in tokens])
        axes.set_xlim(0, 1.25)
        axes.set_xticks([0, 0.5, 1])
        axes.set_xlabel("probability")
        axes.set_title(name, fontsize=10)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@_picture
def plot_before_after(
    before: Mapping[str, float],
    after: Mapping[str, float],
    title: str,
    labels: tuple[str, str] = ("before", "after"),
) -> Figure:
    """Show shares (0 to 1) before and after training, or of two models named by `labels`: a pair of bars a group."""
    names = list(after)[::-1]
    figure, axes = plt.subplots(figsize=(8, 0.9 + 0.42 * len(names)))
    places = np.arange(len(names))
    for shift, shares, colour, label in [
        (0.2, before, GREY, labels[0]),
        (-0.2, after, BLUE, labels[1]),
    ]:
        bars = axes.barh(
            places + shift,
            [100 * shares.get(name, 0) for name in names],
            height=0.38,
            color=colour,
            label=label,
        )
        axes.bar_label(
            bars, [f"{shares.get(name, 0):.0%}" for name in names], padding=3, fontsize=8
        )
    axes.set_yticks(places, names)
    axes.set_xlim(0, 112)
    axes.set_xlabel(
        "answered exactly (% of the questions)"
        if labels == ("before", "after")
        else "% of the questions"
    )
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    axes.set_title(title)
    return figure


@_picture
def plot_examples(rows: Mapping[str, Sequence[str]], asked: Sequence[bool], title: str) -> Figure:
    """Show a training example as a small table, a column a token, columns that carry loss coloured.

    Args:
        rows: name of a row ("reads", "label") -> its tokens as readable text; all equally long.
        asked: for each token whether it carries loss.
        title: what is to be seen.
    """
    figure, axes = plt.subplots(figsize=(9, 0.5 + 0.45 * len(rows)))
    for line, (name, tokens) in enumerate(rows.items()):
        axes.text(-0.15, -line, name, ha="right", va="center")
        for column, (token, colour) in enumerate(zip(tokens, asked, strict=True)):
            face = ROLE_COLOURS["response"] if colour else ROLE_COLOURS["padding"]
            axes.add_patch(
                plt.Rectangle((column + 0.03, -line - 0.42), 0.94, 0.84, color=face, linewidth=0)
            )
            axes.text(column + 0.5, -line, token, ha="center", va="center")
    axes.set_xlim(-1.2, len(asked))
    axes.set_ylim(-len(rows) + 0.5, 0.5)
    axes.axis("off")
    axes.set_title(title)
    return figure


@_picture
def plot_attention(masks: Mapping[str, Sequence[Sequence[bool]]], title: str) -> Figure:
    """Show attention masks side by side: dark where a token (row) may look at another (column)."""
    figure, all_axes = plt.subplots(1, len(masks), figsize=(2.9 * len(masks), 3.2), squeeze=False)
    for axes, (name, mask) in zip(all_axes[0], masks.items(), strict=True):
        grid = np.asarray(mask)
        axes.imshow(grid, cmap=ListedColormap([ROLE_COLOURS["padding"], BLUE]), vmin=0, vmax=1)
        axes.set_title(f"{name}: {grid.mean():.0%} seen", fontsize=10)
        axes.set_xlabel("looks at token")
        axes.set_ylabel("token")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@_picture
def plot_abilities(shares: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """Show shares (0 to 1) of several models at several tasks: a group of bars a task, a colour a model.

    Args:
        shares: name of a task -> {name of a model: share}; a model that a task can't be put to is left out there.
        title: what is to be seen.
    """
    models = list(dict.fromkeys(model for values in shares.values() for model in values))
    figure, axes = plt.subplots(figsize=(8, 0.9 + 0.85 * len(shares)))
    places, height = np.arange(len(shares))[::-1], 0.8 / len(models)
    for index, (model, colour) in enumerate(
        zip(models, (BLUE, ORANGE, GREEN, PURPLE), strict=False)
    ):
        heights = places + (len(models) / 2 - index - 0.5) * height
        values = [values.get(model) for values in shares.values()]
        bars = axes.barh(
            heights,
            [100 * (value or 0) for value in values],
            height=0.9 * height,
            color=colour,
            label=model,
        )
        axes.bar_label(
            bars,
            ["can't be asked" if value is None else f"{value:.0%}" for value in values],
            padding=3,
            fontsize=9,
        )
    axes.set_yticks(places, list(shares))
    axes.set_xlim(0, 112)
    axes.set_xlabel("right (% of the statements)")
    figure.legend(frameon=False, loc="outside lower center", ncols=len(models))
    axes.set_title(title)
    return figure


@_picture
def plot_memory(
    parts: Mapping[str, Mapping[str, float]],
    cards: Sequence[int],
    title: str,
    marks: Mapping[str, float] = MappingProxyType({}),
) -> Figure:
    """Show stacked bars of memory against the sizes of graphics cards.

    Args:
        parts: name of a bar -> {part: bytes}.
        cards: sizes to compare with (GiB).
        title: what is to be seen.
        marks: text -> GiB; figures of others to compare with, each a dotted line.
    """
    figure, axes = plt.subplots(figsize=(9, 2.2 + 0.5 * len(parts)))
    names = list(dict.fromkeys(part for bar in parts.values() for part in bar))
    left = np.zeros(len(parts))
    for name, colour in zip(names, (BLUE, ORANGE, GREEN, PURPLE, RED, SKY, GREY), strict=False):
        values = np.array([bar.get(name, 0) for bar in parts.values()]) / 2**30
        axes.barh(
            list(parts), values, left=left, height=0.6, color=colour, edgecolor="white", label=name
        )
        left += values
    for place, total in enumerate(left):
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.annotate(
            f"{total:,.3g} GiB",
            (total, place),
            (4, 0),
            textcoords="offset points",
            va="center",
            bbox=box,
        )
    compared = [card for card in cards if card < 2.5 * left.max()] or [min(cards)]
    for card in compared:
        axes.axvline(card, color="black", linestyle="--", linewidth=0.8)
        axes.annotate(
            f"{card}",
            (card, 1),
            (2, -2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="top",
            fontsize=8,
        )
    for text, size in marks.items():
        axes.axvline(size, color=RED, linestyle=":", linewidth=2)
        axes.annotate(
            text,
            (size, 0),
            (3, 4),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            color=RED,
            fontsize=8,
        )
    axes.set_xlim(0, 1.18 * max([*left, *compared, *marks.values()]))
    axes.invert_yaxis()
    axes.set_xlabel("memory (GiB); dashed: the memory of usual graphics cards")
    figure.legend(frameon=False, loc="outside lower center", ncols=len(names))
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@_picture
def plot_curves(curves: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Show losses of several runs over their optimizer steps; the first is drawn thick, the others on top of it."""
    figure, axes = plt.subplots(figsize=(8, 2.8))
    styles = [(SKY, "-", 6), (RED, "--", 1.6), ("black", ":", 1.6)]
    for (name, losses), (colour, line, width) in zip(curves.items(), styles, strict=False):
        axes.plot(
            range(1, len(losses) + 1), losses, line, color=colour, linewidth=width, label=name
        )
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss (nats per token)")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    axes.set_title(title)
    return figure


@_picture
def plot_trade(points: Mapping[str, tuple[float, float]], cost: str, title: str) -> Figure:
    """Show what is paid against what is got: name -> (cost on a logarithmic axis, share of held-out questions answered exactly, 0 to 1)."""
    figure, axes = plt.subplots(figsize=(8, 3))
    for (name, (paid, got)), colour, marker in zip(
        points.items(), (BLUE, ORANGE, GREEN, PURPLE), "osD^", strict=False
    ):
        axes.scatter([paid], [100 * got], color=colour, marker=marker, s=70)
        axes.annotate(
            name, (paid, 100 * got), (0, -16), textcoords="offset points", ha="center", fontsize=9
        )
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.set_ylim(0, 105)
    axes.set_xlabel(cost)
    axes.set_ylabel("held-out questions\nanswered exactly (%)")
    axes.set_title(title)
    return figure


def moving_mean(values: Sequence[float], window: int) -> list[float]:
    """Return, for each value, the mean of it and of up to `window` - 1 before it."""
    return [float(np.mean(values[max(0, end - window) : end])) for end in range(1, len(values) + 1)]


def _draw_loss(axes: Axes, steps: Sequence[int], losses: Sequence[float], window: int) -> None:
    if window == 1:
        axes.plot(steps, losses, color=BLUE, marker="o", markersize=3)
        return
    axes.plot(
        steps, losses, color=SKY, marker="o", markersize=3, linestyle="none", label="each log"
    )
    axes.plot(steps, moving_mean(losses, window), color=BLUE, label=f"mean of the last {window}")
    axes.legend(frameon=False)


def _width(text: str) -> float:
    """Width of a text in the units of plot_roles; a Chinese character takes nearly two."""
    return 0.9 + sum(1.7 if ord(char) > 0x2E80 else 0.95 for char in text)


def _flow(widths: Sequence[float], line_width: float) -> tuple[list[tuple[int, float, float]], int]:
    """Set boxes from left to right, in a new row where one is full; return (row, left, width) of each, and the number of rows."""
    places, row, left = [], 0, 0.0
    for width in widths:
        if left and left + width > line_width:
            row, left = row + 1, 0.0
        places.append((row, left, width))
        left += width
    return places, row + 1


def _role(label: int, seen: int, end_id: int) -> str:
    if not seen:
        return "padding"
    if label == IGNORE_INDEX:
        return "prompt"
    return "end" if label == end_id else "response"
