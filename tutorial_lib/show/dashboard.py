"""A training that can be watched and stopped: loss, learning rate, speed, and what the model answers while it learns."""

import threading
import time
from collections.abc import Mapping, Sequence

import ipywidgets
import torch
from IPython import get_ipython
from IPython.display import display
from matplotlib.figure import Figure
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from tutorial_lib.inference import answer
from tutorial_lib.show.plots import plot_progress
from tutorial_lib.show.views import html_table, said
from tutorial_lib.show.widgets import Panel, to_html


class TrainingDashboard(TrainerCallback):
    """Shows a run of ``Trainer`` in a notebook, and changes nothing in it: the losses are the same to the last digit.

    The stop button ends the run after the current optimizer step and saves a checkpoint, from which
    ``trainer.train(resume_from_checkpoint=True)`` goes on. A click reaches a kernel whose cell is still running because JupyterLab sends
    the messages of widgets to a subshell, another thread of the kernel (JupyterLab 4.4 and ipykernel 7 or newer; JEP 91,
    https://github.com/jupyter/enhancement-proposals/pull/91). Elsewhere it arrives when the cell has ended; interrupt the kernel (■).

    Args:
        questions: rows with ``instruction`` and, optionally, ``input`` and ``output``; asked as the model learns.
        tokenizer: of the model.
        ask_at: optimizer steps after which to ask; the last step is always one.
        max_new_tokens: the longest answer, in tokens.
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
        self._max_steps, self._tokens_before, self._began = 0, 0, 0.0
        self._stop = threading.Event()
        self._button = ipywidgets.Button(
            description="Stop and save",
            icon="stop",
            tooltip="ends after this step; the run can be resumed",
        )
        self._button.on_click(lambda _: self.stop())
        # Since 7.4 ipykernel hands what comes back on a comm to the shell that last wrote to it: the main one, which is busy training.
        # Without this method it goes where JupyterLab sends it, to the subshell.
        self._button.comm._reply_subshell_for = None
        self._picture, self._table = ipywidgets.HTML(), ipywidgets.HTML()
        self.panel = Panel([self._button, self._picture, self._table])
        self._handle = None

    def stop(self) -> None:
        """End the training after the current optimizer step, with a checkpoint."""
        self._stop.set()
        self._button.description, self._button.disabled = "stopping …", True

    def picture(self) -> Figure:
        """Draw loss and learning rate of all that was logged.

        Raises:
            ValueError: nothing was logged yet.
        """
        if not self.logs:
            raise ValueError(
                "nothing was logged yet: train first, with logging_steps below the number of steps"
            )
        steps, losses, rates = (
            [log[key] for log in self.logs] for key in ("step", "loss", "learning_rate")
        )
        title = (
            f"Loss {losses[0]:.2f} → {losses[-1]:.2f} in {steps[-1]:.0f} of {self._max_steps} steps"
        )
        if self.tokens_per_second:
            title += f", {self.tokens_per_second:,.0f} tokens a second"
        return plot_progress(steps, losses, rates, title, max_steps=self._max_steps)

    def answer_table(self) -> str:
        """Return what was answered after which step, as an HTML table with a column a question."""
        header = ["step", *(row["instruction"] for row in self.questions)]
        expected = ["expected", *(row.get("output", "") for row in self.questions)]
        return html_table(
            header, [*([str(step), *texts] for step, texts in self.answers.items()), expected]
        )

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Start anew, and show the panel where there is a notebook to show it in."""
        self._stop.clear()
        self.logs, self.answers, self.tokens_per_second = [], {}, 0.0
        self._max_steps = state.max_steps
        self._began, self._tokens_before = time.perf_counter(), state.num_input_tokens_seen
        self._button.description, self._button.disabled = "Stop and save", False
        if get_ipython() is not None:
            self._handle = display(self.panel, display_id=True)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **kwargs: object,
    ) -> None:
        """Note loss, learning rate and speed."""
        if "loss" not in logs:
            return  # the summary at the end
        self.logs.append(
            {
                "step": state.global_step,
                "loss": float(logs["loss"]),
                "learning_rate": logs["learning_rate"],
            }
        )
        # Counted by Trainer if include_num_input_tokens_seen asks for it; 0 otherwise.
        self.tokens_per_second = (state.num_input_tokens_seen - self._tokens_before) / (
            time.perf_counter() - self._began
        )
        self._show()

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: PreTrainedModel,
        **kwargs: object,
    ) -> None:
        """Ask, if it is time to, and stop, if somebody wishes it."""
        if self.questions and (
            state.global_step in self.ask_at or state.global_step == state.max_steps
        ):
            self._ask(state.global_step, model)
        if self._stop.is_set():
            control.should_training_stop = control.should_save = True

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Leave the last picture behind, as a picture, for whoever opens the notebook without a kernel."""
        stopped = self._stop.is_set()
        self._button.description, self._button.disabled = (
            ("stopped and saved" if stopped else "finished"),
            True,
        )
        if self._handle is not None:
            self._handle.update(self.panel)
            self._handle = None

    def _ask(self, step: int, model: PreTrainedModel) -> None:
        with torch.random.fork_rng():  # whatever answering draws, the training does not miss
            given = answer(
                self.questions,
                model,
                self.tokenizer,
                max_new_tokens=self.max_new_tokens,
                progress=False,
            )
        self.answers[step] = list(map(said, given))
        self._show()

    def _show(self) -> None:
        self._picture.value = to_html(self.picture()) if self.logs else ""
        self._table.value = self.answer_table() if self.answers else ""
        self.panel.static = {"text/html": self._picture.value + self._table.value}
