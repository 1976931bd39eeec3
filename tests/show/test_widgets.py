"""The views: each control redraws, each has a static twin, wrong input is a message."""

import base64
import copy
import io
import re
from contextlib import suppress

import ipywidgets
import nbformat
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nbclient import NotebookClient
from PIL import Image
from transformers import GenerationConfig
from transformers.optimization import Adafactor

from tutorial_lib.data import encode_dataset
from tutorial_lib.evaluation import token_losses
from tutorial_lib.formatting import encode_example
from tutorial_lib.inference import next_token_probabilities
from tutorial_lib.scaling.step_memory import OPTIMIZERS, PRECISIONS, fixed_memory
from tutorial_lib.show import views, widgets

ROW = {"instruction": "法国的首都是哪里？", "input": "", "output": "法国的首都是巴黎。"}


@pytest.fixture(scope="module")
def rows(splits, tokenizer):
    return encode_dataset(splits["train"].select(range(64)), tokenizer, 256).dataset.to_list()


@pytest.fixture(scope="module")
def all_views(model, tokenizer, rows):
    return {
        "mask_microscope": widgets.mask_microscope(tokenizer, {"before": model}, ROW),
        "batch_builder": widgets.batch_builder(rows, tokenizer),
        "sampling_playground": widgets.sampling_playground(model, tokenizer, "Name three metals."),
        "memory_planner": widgets.memory_planner({"this model": 5_788_160, "8 B": 8_000_000_000}),
        "chat": widgets.chat({"before": model}, tokenizer, ROW["instruction"]),
    }


CONTROLS = {
    ("mask_microscope", "instruction"): "德国的首都是哪里？",
    ("mask_microscope", "input"): "想一想",
    ("mask_microscope", "output"): "巴黎。",
    ("mask_microscope", "max_length"): 20,
    ("mask_microscope", "template"): "Q and A",
    ("batch_builder", "number"): 3,
    ("batch_builder", "batch_size"): 7,
    ("batch_builder", "padding_side"): "right",
    ("batch_builder", "sampling"): "sorted by length",
    ("sampling_playground", "question"): "Name two metals.",
    ("sampling_playground", "so_far"): "Iron",
    ("sampling_playground", "temperature"): 2.5,
    ("sampling_playground", "top_k"): 1,
    ("sampling_playground", "top_p"): 0.1,
    ("sampling_playground", "seed"): 3,
    ("memory_planner", "precision"): "bfloat16 weights",
    ("memory_planner", "optimizer"): "SGD",
    ("chat", "question"): "德国的首都是哪里？",
}


def test_every_control_of_every_view_is_tried(all_views):
    assert {
        (name, control) for name, view in all_views.items() for control in view.controls
    } == set(CONTROLS)


@pytest.mark.parametrize(("name", "control"), list(CONTROLS))
def test_a_control_redraws_its_view_and_back(all_views, name, control):
    view = all_views[name]
    before, value = view.html, view.controls[control].value
    view.controls[control].value = CONTROLS[name, control]
    after = view.html
    view.controls[control].value = value
    assert before != after
    assert "alert" not in after
    assert view.html == before, "the same values draw the same, chance included"


@pytest.mark.parametrize("name", sorted({name for name, _ in CONTROLS}))
def test_a_view_has_a_static_twin_beside_the_widget(all_views, name):
    bundle = all_views[name]._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    if "image/png" in bundle:
        picture = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
        assert min(picture.size) > 100
        assert bundle["image/png"] in all_views[name].html, "the twin is what the widget shows"
    else:
        assert bundle["text/html"] == all_views[name].html
    for control in all_views[name].controls.values():
        assert control.description
        assert control.tooltip


def test_a_picture_says_its_title_to_those_who_do_not_see_it(all_views):
    for name in ("mask_microscope", "batch_builder", "memory_planner"):
        assert len(re.search(r'alt="([^"]+)"', all_views[name].html)[1]) > 20


def test_wrong_input_is_a_message_in_the_pictures_place(tokenizer):
    view = widgets.mask_microscope(tokenizer, {}, ROW)
    view.controls["output"].value = ""
    assert 'role="alert"' in view.html
    assert "column &#x27;output&#x27; is empty" in view.html
    view.controls["output"].value, view.controls["max_length"].value = "<b>x</b>", 8
    assert "no token of the answer is left" in view.html
    view.controls["max_length"].value = 64
    assert "alert" not in view.html


def test_a_view_draws_once_per_change():
    calls = []

    def draw(a, b):
        calls.append((a, b))
        return f"<p>{a} {b}</p>"

    view = widgets.View({"a": ipywidgets.IntSlider(1), "b": ipywidgets.Text("x")}, draw)
    view.controls["a"].value = 2
    view.controls["b"].value = "y"
    assert calls == [(1, "x"), (2, "x"), (2, "y")]
    assert view.static == {"text/html": "<p>2 y</p>"}


def test_an_executed_notebook_keeps_the_twin():
    code = "from tutorial_lib.show.widgets import memory_planner\n"
    code += "memory_planner({'this model': 5_788_160})"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    bundles = [set(output.get("data", {})) for output in notebook.cells[0].outputs]
    assert any(
        {"application/vnd.jupyter.widget-view+json", "image/png"} <= bundle for bundle in bundles
    )


# --- what the views show --------------------------------------------------------------------------


@given(st.integers(8, 80))
@settings(max_examples=10, deadline=None)
def test_the_losses_of_the_microscope_are_the_models_own(model, tokenizer, splits, index):
    example = encode_example(splits["train"][index], tokenizer)
    each = torch.tensor(token_losses(model, example))
    with torch.inference_mode():
        own = model(**{key: torch.tensor([values]) for key, values in example.items()}).loss
    assert torch.isclose(each.nanmean(), own, atol=1e-5)
    assert each.isnan().tolist() == [label == -100 for label in example["labels"]]


def test_the_microscope_says_what_is_cut(tokenizer):
    whole = len(encode_example(ROW, tokenizer)["input_ids"])
    figure = views.mask_microscope(tokenizer, {}, **ROW, max_length=whole - 3)
    assert "3 cut off, </s> among them" in widgets.title_of(figure)
    assert "cut off" not in widgets.title_of(
        views.mask_microscope(tokenizer, {}, **ROW, max_length=whole)
    )


@pytest.mark.parametrize("sampling", views.SAMPLINGS)
@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=60),
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 9),
)
@settings(max_examples=30, deadline=None)
def test_every_order_takes_each_row_once(sampling, lengths, batch_size, seed):
    order = views.batch_order(lengths, sampling, batch_size, seed)
    assert sorted(order) == list(range(len(lengths)))
    assert order == views.batch_order(lengths, sampling, batch_size, seed)
    if sampling == "sorted by length":
        taken = [lengths[i] for i in order]
        assert taken == sorted(taken)


def test_an_unknown_order_names_the_known_ones():
    with pytest.raises(ValueError, match="sorted by length"):
        views.batch_order([1, 2], "by mood", 2, 0)


def test_the_batch_is_the_collators_and_the_tokenizer_stays_as_it_was(rows, tokenizer):
    side = tokenizer.padding_side
    titles = {
        widgets.title_of(views.batch_builder(rows, tokenizer, sampling=name))
        for name in views.SAMPLINGS
    }
    assert len(titles) == len(views.SAMPLINGS)
    assert tokenizer.padding_side == side
    lengths = sorted(len(row["input_ids"]) for row in rows)
    first = lengths[:4]
    expected = 1 - sum(first) / (4 * max(first))
    title = widgets.title_of(views.batch_builder(rows, tokenizer, sampling="sorted by length"))
    assert f"{expected:.0%} of its {4 * max(first)} cells" in title


@given(temperature=st.floats(0.2, 3), top_k=st.integers(0, 40), top_p=st.floats(0.1, 1))
@settings(max_examples=15, deadline=None)
def test_the_playground_draws_from_what_generate_draws_from(
    model, tokenizer, temperature, top_k, top_p
):
    prompt = "Human: Name three metals.\n\nAssistant: "
    ours = next_token_probabilities(
        model, tokenizer, prompt, temperature=temperature, top_k=top_k, top_p=top_p
    )
    inputs = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
    options = GenerationConfig(
        do_sample=True, temperature=temperature, top_k=top_k, top_p=top_p, max_new_tokens=1
    )
    output = copy.copy(model).generate(
        **inputs,
        generation_config=options,
        return_dict_in_generate=True,
        output_scores=True,
        pad_token_id=tokenizer.pad_token_id,
    )
    assert torch.allclose(ours, output.scores[0][0].softmax(-1), atol=1e-5)
    assert ours.sum() == pytest.approx(1, abs=1e-4)


def test_sampled_answers_repeat_with_their_seed_and_leave_chance_alone(model, tokenizer):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    tables = [
        views.sampling_playground(
            model, tokenizer, question="Name a metal.", temperature=1.5, seed=seed
        )[1]
        for seed in (1, 1, 2)
    ]
    assert torch.rand(1) == expected
    assert tables[0] == tables[1] != tables[2]


def test_the_chat_escapes_what_a_model_says_and_shows_each_model(model, tokenizer):
    table = views.chat(
        {"<before>": model, "after": model},
        tokenizer,
        question="法国的首都是哪里？",
        max_new_tokens=4,
    )
    assert "&lt;before&gt;" in table
    assert "<before>" not in table
    cells = re.findall(r"<td[^>]*>(.*?)</td>", table)
    assert len(cells) == 2
    assert cells[0] == cells[1] != ""


# --- memory ---------------------------------------------------------------------------------------

REAL = {
    "Adafactor": lambda parameters: Adafactor(
        parameters, lr=0.1, scale_parameter=False, relative_step=False
    ),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=0.1),
    "SGD with momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
}


@pytest.mark.parametrize("optimizer", REAL)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_formula_is_what_torch_allocates(optimizer, precision):
    layer = torch.nn.Linear(
        64, 48, dtype=torch.bfloat16 if precision == "bfloat16 weights" else torch.float32
    )
    real = REAL[optimizer](layer.parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16 autocast"):
        loss = layer(torch.ones(2, 64, dtype=layer.weight.dtype)).square().sum()
    loss.backward()
    real.step()

    def size(tensors) -> int:
        return sum(tensor.nbytes for tensor in tensors)

    states = [
        value
        for state in real.state.values()
        for value in state.values()
        if torch.is_tensor(value) and value.dim()
    ]
    expected = fixed_memory(sum(p.numel() for p in layer.parameters()), precision, optimizer)
    assert expected["weights"] == size(layer.parameters())
    assert expected["gradients"] == size(p.grad for p in layer.parameters())
    if optimizer == "Adafactor":  # row and column sums; a bias has a sum per number
        assert size(states) < 0.1 * expected["weights"] + 2_000
    else:
        assert expected["optimizer states"] == size(states)


def test_eight_bit_states_are_two_bytes_and_a_scale_per_block():
    assert set(OPTIMIZERS) == {*REAL, "8-bit AdamW"}
    assert fixed_memory(256 * 100, "float32", "8-bit AdamW")["optimizer states"] == 2 * (
        256 * 100 + 4 * 100
    )


def test_the_training_planner_says_what_does_not_go_together():
    view = widgets.training_planner()
    assert "0.8 B takes 14.4 GiB on one device, fits a card of 16 GB" in view.html
    view.controls["released"].value = True
    assert "choose accumulation 1" in view.html
    view.controls["accumulation"].value = 1
    assert "0.8 B takes 11.6 GiB on one device" in view.html
    view.controls["stage"].value = 3
    assert "11.6 GiB on one device, on which ZeRO 3 has nothing to share" in view.html


@pytest.mark.parametrize("error", [None, ValueError("no such number"), ZeroDivisionError()])
def test_a_view_says_so_while_it_computes(error):
    seen = []

    def draw(number: int) -> str:
        if number:
            seen.append(sign.layout.visibility)
            if error:
                raise error
        return "drawn"

    view = widgets.View({"number": ipywidgets.IntSlider(0)}, draw)
    [sign] = [part for part in view.children[0].children if isinstance(part, ipywidgets.Label)]
    assert sign.layout.visibility == "hidden"
    with suppress(ZeroDivisionError):
        view.controls["number"].value = 1
    assert seen == ["visible"]
    assert sign.layout.visibility == "hidden"


def test_the_planners_title_gives_the_sum_and_the_card():
    figure = views.memory_planner({"0.75 B": 750_841_344})
    assert "0.75 B takes 11.2 GiB before any activation, fits a card of 16 GB" in widgets.title_of(
        figure
    )
    assert "no single card" in widgets.title_of(views.memory_planner({"80 B": 80 * 10**9}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((-1,), "at least 0"), ((1, "int3"), "float32"), ((1, "float32", "Lion"), "AdamW")],
)
def test_memory_of_something_unknown_says_what_is_known(arguments, message):
    with pytest.raises(ValueError, match=message):
        fixed_memory(*arguments)
