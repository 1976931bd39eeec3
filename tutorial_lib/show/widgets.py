"""The interactive views: controls above one of the pictures or tables of ``views``.

A view also carries what it first showed as a plain picture or table, for exports and for
notebooks without a kernel. (``ipywidgets.interactive`` leaves nothing behind there.)
"""

import base64
import html
import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import ipywidgets
from matplotlib.figure import Figure
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tutorial_lib.errors import LabError
from tutorial_lib.formatting import EncodedExample
from tutorial_lib.scaling.shapes import SHAPES
from tutorial_lib.scaling.step_memory import OPTIMIZERS, PRECISIONS
from tutorial_lib.show import views

Shown = Figure | str | Sequence[Figure | str]


class Panel(ipywidgets.VBox):
    """A widget with a static form: ``static`` holds the same as image/png or text/html."""

    def __init__(self, children: Sequence[ipywidgets.Widget]) -> None:
        super().__init__(list(children))
        self.static: dict[str, str] = {}

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, object]:
        # JupyterLab takes the widget; exports and other viewers the richest of the rest.
        return {**super()._repr_mimebundle_(**kwargs), **self.static}


class View(Panel):
    """Controls above what they show.

    Args:
        controls: name -> widget; a change of a value draws again.
        draw: takes the controls' values by name; returns a figure, HTML, or several of them. The
            message of a LabError or ValueError is shown in the picture's place.
    """

    def __init__(
        self, controls: Mapping[str, ipywidgets.Widget], draw: Callable[..., Shown]
    ) -> None:
        self.controls = dict(controls)
        self._draw = draw
        self._shown = ipywidgets.HTML()
        self._busy = ipywidgets.Label("computing …", layout={"visibility": "hidden"})
        row = {"flex_flow": "row wrap"}
        box = ipywidgets.Box([*self.controls.values(), self._busy], layout=row)
        super().__init__([box, self._shown])
        for control in self.controls.values():
            control.observe(self._redraw, "value")
        self._redraw()

    @property
    def html(self) -> str:
        """What is shown now."""
        return self._shown.value

    def _redraw(self, _change: object = None) -> None:
        self._busy.layout.visibility = "visible"  # some pictures take seconds
        try:
            shown = self._draw(**{name: control.value for name, control in self.controls.items()})
        except (LabError, ValueError) as error:
            shown = f'<p role="alert"><b>{html.escape(str(error))}</b></p>'
        finally:
            self._busy.layout.visibility = "hidden"
        self._shown.value = to_html(shown)
        is_figure = isinstance(shown, Figure)
        self.static = {"image/png": _png(shown)} if is_figure else {"text/html": self.html}


def to_html(shown: Shown) -> str:
    """Return figures and HTML as one text of HTML; a figure's title is its alternative text."""
    if isinstance(shown, Figure):
        source = f"data:image/png;base64,{_png(shown)}"
        return f'<img alt="{html.escape(title_of(shown))}" style="max-width:100%" src="{source}">'
    return shown if isinstance(shown, str) else "".join(map(to_html, shown))


def title_of(figure: Figure) -> str:
    """Return the title of a figure, or of its first axes."""
    titles = (axes.get_title(loc="left") or axes.get_title() for axes in figure.axes)
    return figure.get_suptitle() or next(titles, "")


def mask_microscope(
    tokenizer: PreTrainedTokenizerBase,
    models: Mapping[str, PreTrainedModel],
    example: Mapping[str, str],
    max_length: int = 64,
) -> View:
    """``views.mask_microscope`` with other texts, another cut, another template."""
    controls = {
        "instruction": _text("instruction", example["instruction"], "the question"),
        "input": _text("input", example.get("input") or "", "what the question is about"),
        "output": _text("output", example["output"], "the answer to learn"),
        "max_length": _slider("max_length", max_length, 8, 256, "tokens; the rest is cut off"),
        "template": _choice("template", views.TEMPLATES, "the text around the question"),
    }
    return View(controls, partial(views.mask_microscope, tokenizer, models))


def batch_builder(rows: Sequence[EncodedExample], tokenizer: PreTrainedTokenizerBase) -> View:
    """``views.batch_builder`` with other batches of these examples."""
    controls = {
        "number": _slider("batch", 1, 1, min(50, len(rows)), "which batch to show"),
        "batch_size": _slider("rows per batch", 4, 1, 32, "per_device_train_batch_size"),
        "padding_side": _choice("padding side", ("left", "right"), "of the tokenizer"),
        "sampling": _choice("order", views.SAMPLINGS, "which rows share a batch"),
    }
    return View(controls, partial(views.batch_builder, rows, tokenizer))


def sampling_playground(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, question: str, so_far: str = ""
) -> View:
    """``views.sampling_playground`` with other settings."""
    controls = {
        "question": _text("question", question, "asked with the prompt of training"),
        "so_far": _text("answer so far", so_far, "the next token follows this"),
        "temperature": _slider("temperature", 1.0, 0.1, 3.0, "below 1 sharpens, above 1 flattens"),
        "top_k": _slider("top-k", 0, 0, 50, "only the k most likely tokens; 0: all"),
        "top_p": _slider("top-p", 1.0, 0.05, 1.0, "only tokens up to this probability; 1: all"),
        "seed": _slider("seed", 0, 0, 20, "another seed draws other answers"),
    }
    return View(controls, partial(views.sampling_playground, model, tokenizer))


def memory_planner(models: Mapping[str, int]) -> View:
    """``views.memory_planner`` of these models (name -> parameters)."""
    controls = {
        "precision": _choice("precision", PRECISIONS, "of weights, gradients and states"),
        "optimizer": _choice("optimizer", OPTIMIZERS, "how many states per parameter"),
    }
    return View(controls, partial(views.memory_planner, models))


def training_planner() -> View:
    """``views.training_planner`` of the article's three sizes; a new setting takes seconds."""
    stages = "0: whole copies; 1: states, 2: gradients, 3: parameters sharded too"
    released = "applied and freed in the backward pass; accumulation must be 1"
    controls = {
        "model": _choice("model", SHAPES, "the article's sizes"),
        "batch": _choice("rows", (1, 4, 16, 32), "per device and forward pass", 4),
        "length": _choice("tokens", (128, 256, 512, 1024, 2048), "per row", 256),
        "accumulation": _choice("accumulation", (1, 2, 8), "forward passes per step", 8),
        "precision": _choice("precision", PRECISIONS, "of weights, gradients and states"),
        "optimizer": _choice("optimizer", OPTIMIZERS, "what it keeps per parameter"),
        "released": _switch("gradients released", released),
        "checkpointing": _switch("checkpointing", "activations are computed twice, not kept"),
        "stage": _choice("ZeRO stage", (0, 1, 2, 3), stages, 0),
        "devices": _choice("devices", (1, 2, 4, 8, 16, 64), "over which it is sharded", 1),
    }
    return View(controls, views.training_planner)


def chat(
    models: Mapping[str, PreTrainedModel], tokenizer: PreTrainedTokenizerBase, question: str
) -> View:
    """``views.chat``: ask several models side by side; Enter asks."""
    controls = {"question": _text("question", question, "press Enter to ask")}
    return View(controls, partial(views.chat, models, tokenizer))


_STYLE = {"description_width": "initial"}


def _text(name: str, value: str, hint: str) -> ipywidgets.Text:
    # Not at every key: a question is asked when it has been typed.
    options = {"continuous_update": False, "layout": {"width": "48%"}, "style": _STYLE}
    return ipywidgets.Text(value, description=name, tooltip=hint, **options)


def _slider(
    name: str, value: float, low: float, high: float, hint: str
) -> ipywidgets.IntSlider | ipywidgets.FloatSlider:
    options = {"min": low, "max": high, "continuous_update": False, "style": _STYLE}
    if isinstance(value, float):
        return ipywidgets.FloatSlider(value, description=name, tooltip=hint, step=0.05, **options)
    return ipywidgets.IntSlider(value, description=name, tooltip=hint, **options)


def _choice(
    name: str, options: Sequence | Mapping[str, object], hint: str, value: object = None
) -> ipywidgets.Dropdown:
    values = list(options)
    chosen = values[0] if value is None else value
    style = {"tooltip": hint, "style": _STYLE}
    return ipywidgets.Dropdown(options=values, value=chosen, description=name, **style)


def _switch(name: str, hint: str) -> ipywidgets.Checkbox:
    return ipywidgets.Checkbox(value=False, description=name, tooltip=hint, style=_STYLE)


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode()
