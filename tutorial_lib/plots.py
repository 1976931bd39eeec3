"""The course's pictures. Each function takes plain data and returns a figure, whose title states what was found.

Colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which colour-blind readers can tell apart.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import ParamSpec

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from noto_cjk_sans_otc import FONT_PATH

from tutorial_lib.formatting import IGNORE_INDEX

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#999999"
CHINESE_FONT = "Noto Sans CJK SC"
STYLE = {
    "font.family": ["DejaVu Sans", CHINESE_FONT],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
}
ROLE_COLOURS = {"prompt": SKY, "response": ORANGE, "end": GREEN, "padding": "#DDDDDD"}

Parameters = ParamSpec("Parameters")


def _picture(draw: Callable[Parameters, Figure]) -> Callable[Parameters, Figure]:
    """Draw in the course's style and close the figure: a notebook then shows it once, as the cell's value."""

    @wraps(draw)
    def in_style(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Figure:
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
    axes.hist(lengths[lengths <= max_length], bins=bins, color=BLUE, label=f"whole rows: {len(lengths) - cut:,}")
    axes.hist(lengths[lengths > max_length], bins=bins, color=RED, label=f"rows that are cut: {cut:,}")
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
    axes.set_title(f"Half of the rows have at most {int(np.median(lengths))} tokens; {cut / len(lengths):.1%} are longer than {max_length}")
    return figure


@_picture
def plot_counts(counts: Mapping[str, int], unit: str, title: str) -> Figure:
    """Show a count for each name as horizontal bars, the largest on top."""
    names = sorted(counts, key=counts.__getitem__)
    figure, axes = plt.subplots(figsize=(8, 0.6 + 0.3 * len(names)))
    bars = axes.barh(names, [counts[name] for name in names], color=BLUE)
    axes.bar_label(bars, [f"{counts[name]:,}" for name in names], padding=3)
    axes.set_xlabel(unit)
    axes.margins(x=0.12)
    axes.set_title(title)
    return figure


@_picture
def plot_roles(
    tokens: Sequence[str], labels: Sequence[int], end_id: int, title: str, attention_mask: Sequence[int] | None = None
) -> Figure:
    """Show a row token by token, coloured by role, its label below each token.

    Args:
        tokens: each token as readable text.
        labels: -100 or the token's id.
        end_id: id of the end-of-sequence token.
        title: what is to be seen.
        attention_mask: 0 where a token is padding; no padding if not given.
    """
    mask = attention_mask or [1] * len(tokens)
    widths = [0.9 + sum(1.7 if ord(char) > 0x2E80 else 0.95 for char in token) for token in tokens]
    widths = [max(width, 0.9 + 0.95 * len(str(label))) for width, label in zip(widths, labels, strict=True)]
    lines, x, line_width = [[]], 0.0, 62.0
    for index, width in enumerate(widths):
        if x + width > line_width:
            lines.append([])
            x = 0.0
        lines[-1].append((index, x, width))
        x += width
    figure, axes = plt.subplots(figsize=(10, 0.7 + 0.72 * len(lines)))
    for row, line in enumerate(lines):
        for index, left, width in line:
            role = _role(labels[index], mask[index], end_id)
            axes.add_patch(plt.Rectangle((left + 0.06, -row - 0.42), width - 0.12, 0.42, color=ROLE_COLOURS[role], alpha=0.85, linewidth=0))
            axes.text(left + width / 2, -row - 0.21, tokens[index], ha="center", va="center", fontsize=10)
            axes.text(left + width / 2, -row - 0.58, str(labels[index]), ha="center", va="center", fontsize=8, family="monospace")
    axes.set_xlim(0, line_width)
    axes.set_ylim(-len(lines) + 0.2, 0.1)
    axes.axis("off")
    roles = [role for role in ROLE_COLOURS if role in {_role(label, seen, end_id) for label, seen in zip(labels, mask, strict=True)}]
    axes.legend(
        handles=[Patch(color=ROLE_COLOURS[role], label=role) for role in roles],
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=4,
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
    figure, all_axes = plt.subplots(len(batches), 1, figsize=(9, 1.5 * len(batches) + 0.5), squeeze=False)
    for axes, (name, mask) in zip(all_axes[:, 0], batches.items(), strict=True):
        mask = np.asarray(mask)
        axes.imshow(mask, aspect="auto", cmap=ListedColormap([ROLE_COLOURS["padding"], BLUE]), vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(f"{name}: {1 - mask.mean():.0%} of its {mask.size:,} cells are padding")
        axes.set_ylabel("row")
        axes.set_yticks(range(len(mask)))
    all_axes[-1, 0].set_xlabel("position in the batch (tokens)")
    figure.legend(
        handles=[Patch(color=BLUE, label="token"), Patch(color=ROLE_COLOURS["padding"], label="padding")],
        loc="outside right upper",
        frameon=False,
    )
    return figure


@_picture
def plot_schedule(schedules: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Show learning rates over the optimizer steps, a line a schedule."""
    figure, axes = plt.subplots(figsize=(8, 3))
    for (name, rates), colour, style in zip(schedules.items(), (BLUE, ORANGE, GREEN, RED), ("-", "--", "-.", ":"), strict=False):
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
) -> Figure:
    """Show a loss over steps, or over positions."""
    figure, axes = plt.subplots(figsize=(8, 3))
    axes.plot(steps, losses, color=BLUE, marker="o", markersize=3)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_ylim(bottom=0)
    axes.set_title(title)
    return figure


@_picture
def plot_parts(parts: Mapping[str, float], unit: str, title: str) -> Figure:
    """Show how a whole divides into parts, as one stacked bar with the shares written beside."""
    total = sum(parts.values())
    figure, axes = plt.subplots(figsize=(8, 1.9))
    left = 0.0
    for (name, value), colour in zip(parts.items(), (BLUE, ORANGE, GREEN, PURPLE, RED, SKY, GREY), strict=False):
        axes.barh([0], [value], left=left, color=colour, label=f"{name}: {value:,.3g} ({value / total:.0%})", edgecolor="white")
        left += value
    axes.set_yticks([])
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
    for axes, (name, probabilities), colour in zip(all_axes[0], candidates.items(), (GREY, BLUE, ORANGE), strict=False):
        tokens = list(probabilities)[::-1]
        bars = axes.barh(range(len(tokens)), [probabilities[token] for token in tokens], color=colour)
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
    before: Mapping[str, float], after: Mapping[str, float], title: str, labels: tuple[str, str] = ("before", "after")
) -> Figure:
    """Show shares (0 to 1) before and after training, or of two models named by `labels`: a pair of bars a group."""
    names = list(after)[::-1]
    figure, axes = plt.subplots(figsize=(8, 0.9 + 0.42 * len(names)))
    places = np.arange(len(names))
    for shift, shares, colour, label in [(0.2, before, GREY, labels[0]), (-0.2, after, BLUE, labels[1])]:
        bars = axes.barh(places + shift, [100 * shares.get(name, 0) for name in names], height=0.38, color=colour, label=label)
        axes.bar_label(bars, [f"{shares.get(name, 0):.0%}" for name in names], padding=3, fontsize=8)
    axes.set_yticks(places, names)
    axes.set_xlim(0, 112)
    axes.set_xlabel("answered exactly (% of the questions)" if labels == ("before", "after") else "% of the questions")
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
            axes.add_patch(plt.Rectangle((column + 0.03, -line - 0.42), 0.94, 0.84, color=face, linewidth=0))
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
    for index, (model, colour) in enumerate(zip(models, (BLUE, ORANGE, GREEN, PURPLE), strict=False)):
        heights = places + (len(models) / 2 - index - 0.5) * height
        values = [values.get(model) for values in shares.values()]
        bars = axes.barh(heights, [100 * (value or 0) for value in values], height=0.9 * height, color=colour, label=model)
        axes.bar_label(bars, ["can't be asked" if value is None else f"{value:.0%}" for value in values], padding=3, fontsize=9)
    axes.set_yticks(places, list(shares))
    axes.set_xlim(0, 112)
    axes.set_xlabel("right (% of the statements)")
    figure.legend(frameon=False, loc="outside lower center", ncols=len(models))
    axes.set_title(title)
    return figure


def _role(label: int, seen: int, end_id: int) -> str:
    if not seen:
        return "padding"
    if label == IGNORE_INDEX:
        return "prompt"
    return "end" if label == end_id else "response"
