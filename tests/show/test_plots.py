"""Every plot: its title states the finding, axes are named, all glyphs exist, none stays open."""

import inspect
import io
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from tutorial_lib.show import plots, views
from tutorial_lib.show.widgets import title_of

TOKENS = ["Human", "：", "法国", "的", "首都", "Paris", "。", "</s>"]
LABELS = [-100, -100, -100, -100, -100, 17, 18, 2]
PICTURES = {
    "plot_lengths": lambda: plots.plot_lengths([10, 20, 30, 300], 256),
    "plot_counts": lambda: plots.plot_counts({"国家": 150, "metals": 90}, "rows", "150 国家 rows"),
    "plot_roles": lambda: plots.plot_roles(
        TOKENS, LABELS, 2, "3 of 8 tokens carry loss", ids=range(8), kept=7
    ),
    "plot_batches": lambda: plots.plot_batches({"一批": [[0, 1, 1], [1, 1, 1]]}),
    "plot_schedule": lambda: plots.plot_schedule(
        {"linear": [2e-4, 1e-4], "余弦": [2e-4, 1e-4]}, "from 2e-4"
    ),
    "plot_loss": lambda: plots.plot_loss([1, 2, 3], [3.0, 2.0, 1.0], "损失 falls", window=2),
    "plot_progress": lambda: plots.plot_progress(
        [1, 2], [2.0, 1.0], [1e-4, 0], "Loss 2 → 1", max_steps=2
    ),
    "plot_parts": lambda: plots.plot_parts(
        {"权重": 3.0, "gradients": 1.0}, "memory (MiB)", "75 % weights"
    ),
    "plot_next_tokens": lambda: plots.plot_next_tokens(
        {"前": {"日": 0.9, "\ufffd": 0.1}, "后": {"日": 1.0}}, "日 is likely"
    ),
    "plot_before_after": lambda: plots.plot_before_after(
        {"中文": 0.0}, {"中文": 0.9}, "90 % after"
    ),
    "plot_examples": lambda: plots.plot_examples(
        {"input": ["法", "国"], "label": ["-", "国"]}, [False, True], "one label"
    ),
    "plot_attention": lambda: plots.plot_attention(
        {"因果": [[1, 0], [1, 1]]}, "a causal model sees 75 %"
    ),
    "plot_abilities": lambda: plots.plot_abilities(
        {"填空": {"BERT": 0.5}, "continue": {"Bloom": 1.0}}, "each its own"
    ),
    "plot_curves": lambda: plots.plot_curves(
        {"一": [2.0, 1.0], "two": [2.0, 1.0]}, "Both fall to 1"
    ),
    "plot_trade": lambda: plots.plot_trade(
        {"全": (100, 0.9), "LoRA": (10, 0.8)}, "parameters", "80 % for a tenth"
    ),
    "plot_memory": lambda: plots.plot_memory(
        {"模型": {"weights": 2**30, "gradients": 2**30}}, (8, 16), "takes 2 GiB"
    ),
}
WITHOUT_AXES = {"plot_roles", "plot_examples"}


def cut_off(figure) -> list[str]:
    """Texts that stick out of the picture."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer, page = canvas.get_renderer(), figure.bbox.padded(1)
    # Ticks out of the axes' range are texts too, and never drawn.
    ticks = {
        text
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        for text in tick.findobj(Text)
    }
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text not in ticks]
    boxes = {text.get_text(): text.get_window_extent(renderer) for text in texts}
    return [
        text
        for text, box in boxes.items()
        if box.x1 > page.x1 or box.x0 < page.x0 or box.y1 > page.y1 or box.y0 < page.y0
    ]


def test_every_picture_is_tried():
    assert set(PICTURES) == {
        name
        for name, value in vars(plots).items()
        if name.startswith("plot_") and inspect.isfunction(value)
    }


@pytest.mark.parametrize("name", PICTURES)
def test_a_plot_has_a_title_named_axes_and_all_glyphs(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a glyph that no font has is a warning
        figure = PICTURES[name]()
        figure.savefig(io.BytesIO(), format="png")
    assert len(title_of(figure)) > 5
    assert cut_off(figure) == []
    if name not in WITHOUT_AXES:
        assert any(axes.get_xlabel() for axes in figure.axes)
        named = [
            axes.get_ylabel() or [label.get_text() for label in axes.get_yticklabels()]
            for axes in figure.axes
        ]
        assert all(named) or name == "plot_parts"
    assert plt.get_fignums() == [], "an open figure would be shown twice"


@pytest.mark.parametrize(
    "draw",
    [
        lambda: views.memory_planner(
            {"this model": 5_788_160, "8 billion": 8 * 10**9},
            precision="bfloat16 autocast",
            optimizer="SGD with momentum",
        ),
        lambda: plots.plot_batches(
            {"grouped by length, 10% padding in all; batch 10 of 63": np.ones((4, 256))}
        ),
        lambda: plots.plot_lengths([10, 20, 30, 300], 256),
        lambda: plots.plot_attention({name: np.tri(5) for name in "abc"}, "Labels of few tokens"),
    ],
)
def test_long_titles_and_labels_fit(draw):
    figure = draw()
    figure.savefig(io.BytesIO(), format="png")
    assert cut_off(figure) == []


def test_masks_may_be_tensors():
    masks = {"causal": torch.ones(3, 3, dtype=torch.bool).tril()}
    figure = plots.plot_attention(masks, "half of it, and the diagonal")
    assert figure.axes[0].get_title(loc="left") == "causal: 67% seen"


def test_titles_are_computed_from_what_is_drawn():
    assert "20.0% are longer than 256" in title_of(plots.plot_lengths([10, 20, 30, 40, 300], 256))
    assert "33% of its 6 cells are padding" in title_of(
        plots.plot_batches({"x": [[0, 0, 1], [1, 1, 1]]})
    )


def test_a_row_shows_id_label_and_loss_of_each_token_and_nothing_of_a_cut_one():
    losses = [np.nan] * 5 + [1.25, 0.5, np.nan]
    figure = plots.plot_roles(
        TOKENS, LABELS, 2, "title", ids=[3, 4, 5, 6, 7, 17, 18, 2], losses={"loss": losses}, kept=7
    )
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert {*TOKENS, "17", "18", "-100", "1.25", "0.50"} <= set(texts)
    assert texts.count("2") == 1, "the cut token's id, not its label"
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["prompt", "response", "cut off"]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.integers(1, 10))
def test_the_moving_mean_is_the_mean_of_the_last_few(values, window):
    means = plots.moving_mean(values, window)
    assert len(means) == len(values)
    for end, mean in enumerate(means, start=1):
        last = values[max(0, end - window) : end]
        assert mean == pytest.approx(sum(last) / len(last), abs=1e-6, rel=1e-6)


@pytest.mark.parametrize(
    ("as_given", "from_the_top"),
    [(False, ["many", "some", "few"]), (True, ["some", "few", "many"])],
)
def test_counts_are_sorted_by_size_or_as_given(as_given, from_the_top):
    figure = plots.plot_counts(
        {"some": 2, "few": 1, "many": 3}, "rows", "Three kinds", as_given=as_given
    )
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[::-1] == from_the_top
