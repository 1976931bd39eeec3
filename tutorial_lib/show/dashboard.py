"""A training to watch and to stop: loss, learning rate, speed, and answers as the model learns."""

import threading
import time
from collections.abc import Mapping, Sequence

import ipywidgets
import torch
from IPython import get_ipython
from IPython.display import display
from matplotlib.figure import Figure
from transformers import PreTrainedTokenizerBase, TrainerCallback

from tutorial_lib.inference import answer
from tutorial_lib.show.plots import plot_progress
from tutorial_lib.show.tables import html_table
from tutorial_lib.show.views import answer_text
from tutorial_lib.show.widgets import Panel, to_html


class TrainingDashboard(TrainerCallback):
    """Shows a run of ``Trainer`` in a notebook, and does not change its losses by a digit.

    The stop button ends the run after the current optimizer step and saves a checkpoint, from
    which ``trainer.train(resume_from_checkpoint=True)`` goes on. The click reaches a busy kernel
    because JupyterLab sends the messages of widgets to a subshell, another thread of the kernel
    (JupyterLab 4.4 and ipykernel 7 or newer; JEP 91). Elsewhere, interrupt the kernel (■).

    Args:
        questions: rows with ``instruction`` and, optionally, ``input`` and ``output``.
        tokenizer: the model's.
        ask_at: optimizer steps after which to ask; the last step is always one.
        max_new_tokens: the longest answer.
    """

    def __init__(
        self,
        questions: Sequence[Mapping[str, str]] = (),
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        ask_at: Sequence[int] = (1, 20, 50, 100),
        max_new_tokens: int = 24,
    ) -> None:
        self.questions, self.tokenizer = list(questions), tokenizer
        self.ask_at, self.max_new_tokens = frozenset(ask_at), max_new_tokens
        self.answers: dict[int, list[str]] = {}  # optimizer step -> answers
        self.logs: list[dict[str, float]] = []  # step, loss, learning_rate
        self.tokens_per_second = 0.0
        self._max_steps, self._tokens_before, self._start = 0, 0, 0.0
        self._stop = threading.Event()
        tooltip = "ends after this step; the run can be resumed"
        self._button = ipywidgets.Button(icon="stop", tooltip=tooltip)
        self._label("Stop and save", disabled=False)
        self._button.on_click(lambda _: self.stop())
        # Since 7.4 ipykernel answers on the shell that last wrote to a widget, here the main one,
        # which is busy training. Without this method the subshell answers. (An older or newer
        # ipykernel may not have the method; then nothing is changed.)
        if hasattr(self._button.comm, "_reply_subshell_for"):
            self._button.comm._reply_subshell_for = None
        self._picture, self._table = ipywidgets.HTML(), ipywidgets.HTML()
        self.panel = Panel([self._button, self._picture, self._table])
        self._handle = None

    def stop(self) -> None:
        """End the training after the current optimizer step, with a checkpoint."""
        self._stop.set()
        self._label("stopping …", disabled=True)

    def picture(self) -> Figure:
        """Draw loss and learning rate of all that was logged.

        Raises:
            ValueError: nothing was logged yet.
        """
        if not self.logs:
            remedy = "train first, with logging_steps below the number of steps"
            raise ValueError(f"nothing was logged yet: {remedy}")
        columns = ("step", "loss", "learning_rate")
        steps, losses, rates = ([log[column] for log in self.logs] for column in columns)
        fall = f"Loss {losses[0]:.2f} → {losses[-1]:.2f}"
        title = f"{fall} in {steps[-1]:.0f} of {self._max_steps} steps"
        if self.tokens_per_second:
            title += f", {self.tokens_per_second:,.0f} tokens per second"
        return plot_progress(steps, losses, rates, title, max_steps=self._max_steps)

    def answer_table(self) -> str:
        """Return the answers after each step as an HTML table, a column per question."""
        header = ["step", *(row["instruction"] for row in self.questions)]
        expected = ["expected", *(row.get("output", "") for row in self.questions)]
        rows = [[str(step), *texts] for step, texts in self.answers.items()]
        return html_table(header, [*rows, expected])

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        """Start anew, and show the panel if this is a notebook."""
        self._stop.clear()
        self.logs, self.answers, self.tokens_per_second = [], {}, 0.0
        self._max_steps = state.max_steps
        self._start, self._tokens_before = time.perf_counter(), state.num_input_tokens_seen
        self._label("Stop and save", disabled=False)
        if get_ipython() is not None:
            self._handle = display(self.panel, display_id=True)

    def on_log(self, args, state, control, logs, **kwargs) -> None:
        """Keep loss, learning rate and speed."""
        if "loss" not in logs:
            return  # the summary at the end
        step, rate = state.global_step, logs["learning_rate"]
        self.logs.append({"step": step, "loss": float(logs["loss"]), "learning_rate": rate})
        # Trainer counts tokens if include_num_input_tokens_seen is set; else this is 0.
        tokens = state.num_input_tokens_seen - self._tokens_before
        self.tokens_per_second = tokens / (time.perf_counter() - self._start)
        self._show()

    def on_step_end(self, args, state, control, model, **kwargs) -> None:
        """Ask where ``ask_at`` says so, and stop if the button was clicked."""
        is_last = state.global_step == state.max_steps
        if self.questions and (is_last or state.global_step in self.ask_at):
            options = {"max_new_tokens": self.max_new_tokens, "progress": False}
            with torch.random.fork_rng():  # the training's random numbers stay the same
                answers = answer(self.questions, model, self.tokenizer, **options)
            self.answers[state.global_step] = list(map(answer_text, answers))
            self._show()
        if self._stop.is_set():
            control.should_training_stop = control.should_save = True

    def on_train_end(self, args, state, control, **kwargs) -> None:
        """Leave the last picture behind, for readers without a kernel."""
        self._label("stopped and saved" if self._stop.is_set() else "finished", disabled=True)
        if self._handle is not None:
            self._handle.update(self.panel)
            self._handle = None

    def _label(self, text: str, *, disabled: bool) -> None:
        self._button.description, self._button.disabled = text, disabled

    def _show(self) -> None:
        self._picture.value = to_html(self.picture()) if self.logs else ""
        self._table.value = self.answer_table() if self.answers else ""
        self.panel.static = {"text/html": self._picture.value + self._table.value}
