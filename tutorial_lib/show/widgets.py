"""The interactive views: controls that redraw one of the pictures of ``views``.

A view also carries what it first showed as a plain picture or table: a notebook that is exported, or looked at where no widgets are, still
shows it.
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
from tutorial_lib.memory import OPTIMIZERS, PRECISIONS, SHAPES
from tutorial_lib.show import views

Shown = Figure | str | Sequence[Figure | str]


class Panel(ipywidgets.VBox):
    """A widget that is also something without widgets: ``static`` holds the same as image/png or text/html."""

    def __init__(self, children: Sequence[ipywidgets.Widget]) -> None:
        super().__init__(list(children))
        self.static: dict[str, str] = {}

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, object]:
        # JupyterLab takes the widget; exports and other viewers the richest of the rest.
        return {**super()._repr_mimebundle_(**kwargs), **self.static}


class View(Panel):
    """Controls above what they show.

    Args:
        controls: name -> widget; a change of any one's value draws again.
        draw: takes the controls' values by name; returns a figure, HTML, or several of them. What is wrong with the values it says by
            raising LabError or ValueError; the message is then shown in the picture's place.
    """

    def __init__(
        self, controls: Mapping[str, ipywidgets.Widget], draw: Callable[..., Shown]
    ) -> None:
        self.controls = dict(controls)
        self._draw = draw
        self._shown = ipywidgets.HTML()
        self._busy = ipywidgets.Label("computing …", layout={"visibility": "hidden"})
        box = ipywidgets.Box(
            [*self.controls.values(), self._busy], layout={"flex_flow": "row wrap"}
        )
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
        self.static = (
            {"image/png": _png(shown)}
            if isinstance(shown, Figure)
            else {"text/html": self._shown.value}
        )


def to_html(shown: Shown) -> str:
    """Return figures and HTML as one piece of HTML; a figure's title is its alternative text."""
    if isinstance(shown, Figure):
        return f'<img alt="{html.escape(title_of(shown))}" style="max-width:100%" src="data:image/png;base64,{_png(shown)}">'
    return shown if isinstance(shown, str) else "".join(map(to_html, shown))


def title_of(figure: Figure) -> str:
    """Return the title of a figure, or of its first axes."""
    return figure.get_suptitle() or next(
        (axes.get_title(loc="left") or axes.get_title() for axes in figure.axes), ""
    )


def mask_microscope(
    tokenizer: PreTrainedTokenizerBase,
    models: Mapping[str, PreTrainedModel],
    example: Mapping[str, str],
    max_length: int = 64,
) -> View:
    """Look at a row as the model sees it, with other texts, another cut, another template; see ``views.mask_microscope``."""
    controls = {
        "instruction": _text("instruction", example["instruction"], "the question"),
        "input": _text(
            "input", example.get("input") or "", "what the question is about, often empty"
        ),
        "output": _text("output", example["output"], "the answer to learn"),
        "max_length": _slider(
            "max_length", max_length, 8, 256, "tokens; the rest of the row is cut off"
        ),
        "template": _choice("template", views.TEMPLATES, "what stands around the question"),
    }
    return View(controls, partial(views.mask_microscope, tokenizer, models))


def batch_builder(rows: Sequence[EncodedExample], tokenizer: PreTrainedTokenizerBase) -> View:
    """Build batches of these rows; see ``views.batch_builder``."""
    controls = {
        "number": _slider("batch", 1, 1, min(50, len(rows)), "which batch to show"),
        "batch_size": _slider("rows a batch", 4, 1, 32, "per_device_train_batch_size"),
        "padding_side": _choice("padding side", ("left", "right"), "of the tokenizer"),
        "sampling": _choice("order", views.SAMPLINGS, "how rows are put together"),
    }
    return View(controls, partial(views.batch_builder, rows, tokenizer))


def sampling_playground(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, question: str, so_far: str = ""
) -> View:
    """Turn temperature, top-k and top-p; see ``views.sampling_playground``."""
    controls = {
        "question": _text("question", question, "asked with the prompt of training"),
        "so_far": _text("answer so far", so_far, "the next token follows this"),
        "temperature": _slider("temperature", 1.0, 0.1, 3.0, "below 1 sharpens, above 1 flattens"),
        "top_k": _slider("top-k", 0, 0, 50, "only the so many likeliest tokens; 0: all"),
        "top_p": _slider(
            "top-p", 1.0, 0.05, 1.0, "only the likeliest tokens up to this probability; 1: all"
        ),
        "seed": _slider("seed", 0, 0, 20, "another seed draws other answers"),
    }
    return View(controls, partial(views.sampling_playground, model, tokenizer))


def memory_planner(models: Mapping[str, int]) -> View:
    """Choose precision and optimizer for models (name -> parameters); see ``views.memory_planner``."""
    controls = {
        "precision": _choice("precision", PRECISIONS, "of weights, gradients and states"),
        "optimizer": _choice("optimizer", OPTIMIZERS, "how many states a parameter"),
    }
    return View(controls, partial(views.memory_planner, models))


def training_planner() -> View:
    """Plan a full fine-tuning of the article's three sizes; see ``views.training_planner``. A first look at a setting takes seconds."""
    controls = {
        "model": _choice("model", SHAPES, "the article's sizes"),
        "batch": _options("rows", (1, 4, 16, 32), 4, "a device and forward pass"),
        "length": _options("tokens", (128, 256, 512, 1024, 2048), 256, "a row"),
        "accumulation": _options("accumulation", (1, 2, 8), 8, "forward passes an optimizer step"),
        "precision": _choice("precision", PRECISIONS, "of weights, gradients and states"),
        "optimizer": _choice("optimizer", OPTIMIZERS, "what it keeps for each parameter"),
        "released": _switch(
            "gradients released", "used and let go in the backward pass; accumulation must be 1"
        ),
        "checkpointing": _switch("checkpointing", "activations are computed twice instead of kept"),
        "stage": _options(
            "ZeRO stage",
            (0, 1, 2, 3),
            0,
            "0: whole copies; 1: states, 2: gradients, 3: parameters sharded too",
        ),
        "devices": _options("devices", (1, 2, 4, 8, 16, 64), 1, "over which it is sharded"),
    }
    return View(controls, views.training_planner)


def chat(
    models: Mapping[str, PreTrainedModel], tokenizer: PreTrainedTokenizerBase, question: str
) -> View:
    """Ask several models (name -> model) side by side; press Enter to ask. See ``views.chat``."""
    return View(
        {"question": _text("question", question, "press Enter to ask")},
        partial(views.chat, models, tokenizer),
    )


def _text(name: str, value: str, hint: str) -> ipywidgets.Text:
    # Not at every key: a question is asked when it has been typed.
    return ipywidgets.Text(
        value,
        description=name,
        tooltip=hint,
        continuous_update=False,
        layout={"width": "48%"},
        style=_STYLE,
    )


def _slider(
    name: str, value: float, low: float, high: float, hint: str
) -> ipywidgets.IntSlider | ipywidgets.FloatSlider:
    kind = ipywidgets.FloatSlider if isinstance(value, float) else ipywidgets.IntSlider
    step = {"step": 0.05} if kind is ipywidgets.FloatSlider else {}
    return kind(
        value,
        min=low,
        max=high,
        description=name,
        tooltip=hint,
        continuous_update=False,
        style=_STYLE,
        **step,
    )


def _choice(
    name: str, options: Sequence[str] | Mapping[str, object], hint: str
) -> ipywidgets.Dropdown:
    return ipywidgets.Dropdown(options=list(options), description=name, tooltip=hint, style=_STYLE)


def _options(name: str, options: Sequence[int], value: int, hint: str) -> ipywidgets.Dropdown:
    return ipywidgets.Dropdown(
        options=list(options), value=value, description=name, tooltip=hint, style=_STYLE
    )


def _switch(name: str, hint: str) -> ipywidgets.Checkbox:
    return ipywidgets.Checkbox(value=False, description=name, tooltip=hint, style=_STYLE)


_STYLE = {"description_width": "initial"}


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode()
