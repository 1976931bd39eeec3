import copy
from collections.abc import Sequence

import pytest
import torch
from transformers import LogitsProcessor, LogitsProcessorList, TextGenerationPipeline

from tutorial_lib.formatting import encode_prompt
from tutorial_lib.inference import Answer, answer, build_pipeline
from tutorial_lib.models import load_model

QUESTIONS = [
    "法国的首都是哪里？",
    "What is the capital of France?",
    {"instruction": "Reduce this fraction.", "input": "6/8"},
    {"instruction": "把这句话翻译成英文。", "input": "这条河很长。"},
    "?",
    {"instruction": "Sort these numbers.", "input": "5 3 9 1 " * 12, "output": "not looked at"},
    "Name a river.",
    "Name a river.",  # asked twice on purpose
    "What does </s> mean, and what does <pad> mean?",
    {
        "instruction": "List three animals with four legs, and say of each where it lives.",
        "task": "list",
    },
    "",
]


def prompt_ids(question, tokenizer) -> list[int]:
    row = {"instruction": question} if isinstance(question, str) else question
    return encode_prompt(row["instruction"], row.get("input", ""), tokenizer)


class Script(LogitsProcessor):
    """Makes any model give the planned reply to each prompt, id by id, in any batch."""

    def __init__(self, questions: Sequence, replies: Sequence[str], tokenizer):
        self.replies = {
            tuple(prompt_ids(question, tokenizer)): tokenizer(reply, add_special_tokens=False)[
                "input_ids"
            ]
            for question, reply in zip(questions, replies, strict=True)
        }
        self.pad = tokenizer.pad_token_id

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        forced = torch.full_like(scores, -torch.inf)
        for row, ids in enumerate(input_ids.tolist()):
            while ids[0] == self.pad:
                ids = ids[1:]
            forced[row, self._next(ids)] = 0
        return forced

    def _next(self, ids: list[int]) -> int:
        for prompt, reply in self.replies.items():
            if tuple(ids[: len(prompt)]) == prompt:
                length = len(ids) - len(prompt)
                return (
                    reply[length] if length < len(reply) else self.pad
                )  # after its end token a row is padded anyway
        raise AssertionError(f"not a planned prompt: {ids}")


@pytest.fixture
def say(tiny_model, tokenizer):
    """Ask a scripted model."""

    def say(questions: Sequence, replies: Sequence[str], **options) -> list[Answer]:
        script = LogitsProcessorList([Script(questions, replies, tokenizer)])
        return answer(
            questions, tiny_model, tokenizer, logits_processor=script, progress=False, **options
        )

    return say


@pytest.fixture
def recorded(monkeypatch):
    """Record per row what `generate` gets and returns: prompt ids (without padding) and new ids."""

    def record(model) -> list[tuple[list[int], list[int]]]:
        rows = []
        generate = model.generate

        def spy(*args, **kwargs):
            output = generate(*args, **kwargs)
            inputs, mask = kwargs["input_ids"], kwargs["attention_mask"]
            for ids, kept, sequence in zip(inputs, mask.bool(), output, strict=True):
                rows.append((ids[kept].tolist(), sequence[len(ids) :].tolist()))
            return output

        monkeypatch.setattr(model, "generate", spy)
        return rows

    return record


def until_end(ids: Sequence[int], end: int) -> list[int]:
    return [*ids[: list(ids).index(end) + 1]] if end in ids else list(ids)


def one_by_one(questions: Sequence, model, tokenizer, max_new_tokens: int) -> list[list[int]]:
    """The reference: `model.generate` on one unpadded prompt at a time; ids and end token."""
    replies = []
    with torch.inference_mode():
        for question in questions:
            ids = torch.tensor([prompt_ids(question, tokenizer)])
            output = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=max_new_tokens,
                pad_token_id=tokenizer.pad_token_id,
            )
            replies.append(until_end(output[0, ids.shape[1] :].tolist(), tokenizer.eos_token_id))
    return replies


@pytest.mark.parametrize("batch_size", [1, 4, 64, None])
def test_batched_answers_equal_those_of_one_prompt_after_the_other(tokenizer, recorded, batch_size):
    model = load_model("tinyworld").eval()  # one of its own: `generate` is replaced
    expected = one_by_one(QUESTIONS, model, tokenizer, max_new_tokens=10)
    generated = recorded(model)
    answers = answer(
        QUESTIONS, model, tokenizer, max_new_tokens=10, batch_size=batch_size, progress=False
    )

    new_ids = {tuple(prompt): until_end(ids, tokenizer.eos_token_id) for prompt, ids in generated}
    assert [new_ids[tuple(prompt_ids(question, tokenizer))] for question in QUESTIONS] == expected
    assert len(generated) == len(QUESTIONS)
    for reply, ids in zip(answers, expected, strict=True):
        stopped = ids[-1] == tokenizer.eos_token_id
        assert reply == Answer(
            tokenizer.decode(ids[:-1] if stopped else ids).replace(tokenizer.pad_token, ""), stopped
        )


def test_long_questions_share_a_batch_with_few_others(tiny_model, tokenizer, monkeypatch):
    widths = []

    def says_nothing(self, input_ids, **options):
        widths.append(input_ids.shape)
        return torch.nn.functional.pad(input_ids, (0, 1), value=tokenizer.eos_token_id)

    monkeypatch.setattr(type(tiny_model), "generate", says_nothing)
    questions = ["Name a river."] * 300 + ["one two three four five six seven " * 200] * 15
    assert len(answer(questions, tiny_model, tokenizer, max_new_tokens=1, progress=False)) == 315
    assert sum(rows for rows, _ in widths) == 315
    assert max(rows for rows, _ in widths) == 256
    assert max(rows * (width + 1) for rows, width in widths) <= 16_384
    rows, width = next(shape for shape in widths if shape[1] > 1_000)
    assert rows == 16_384 // (width + 1), "no smaller than need be"


def test_prompts_are_the_ids_that_training_sees(tiny_model, tokenizer, recorded):
    generated = recorded(tiny_model)
    answer(QUESTIONS, tiny_model, tokenizer, max_new_tokens=1, progress=False)
    assert sorted(ids for ids, _ in generated) == sorted(
        prompt_ids(question, tokenizer) for question in QUESTIONS
    )


@pytest.mark.parametrize("batch_size", [1, 3, 64, None])
def test_answers_come_in_the_order_of_the_questions(say, batch_size):
    questions = [
        "a long question, and longer " * (7 * number % 11) + str(number) for number in range(11)
    ]
    replies = [f"reply to {number}</s>" for number in range(11)]
    answers = say(questions, replies, batch_size=batch_size)
    assert [reply.text for reply in answers] == [f"reply to {number}" for number in range(11)]


def test_stopped_tells_who_ended_within_the_limit(say, tokenizer):
    reply = "一二三四五六七八九十"
    length = len(tokenizer(reply)["input_ids"])
    questions = [
        "stops early",
        "stops with the last token",
        "would stop one token later",
        "never stops",
    ]
    replies = ["一</s>", f"{reply}</s>", f"{reply}一二</s>", reply * 9]
    limit = length + 1
    answers = say(questions, replies, max_new_tokens=limit)
    assert [each.stopped for each in answers] == [True, True, False, False]
    assert [each.text for each in answers[:2]] == ["一", reply]
    for each in answers[2:]:
        assert each.text.startswith(reply)
        assert len(tokenizer(each.text)["input_ids"]) <= limit


def test_text_after_the_end_token_is_no_part_of_the_answer(say):
    """Padding, while other rows still generate, must not leak into a finished answer."""
    answers = say(["short", "long"], ["a</s>", "b " * 20 + "</s>"])
    assert answers == [Answer("a", True), Answer("b " * 20, True)]


def test_answer_is_not_stripped_and_loses_its_padding_tokens(say):
    answers = say(["white space", "padding", "nothing"], [" x \n</s>", "a<pad>b</s>", "</s>"])
    assert answers == [Answer(" x \n", True), Answer("ab", True), Answer("", True)]


def test_other_special_tokens_are_no_part_of_the_answer(say):
    assert say(["begin", "unknown"], ["a<s>b</s>", "a<unk>b</s>"]) == [Answer("ab", True)] * 2


def test_end_token_in_the_question_is_not_taken_for_the_end_of_the_answer(say):
    assert say(["What does </s> mean?"], ["the end</s>"]) == [Answer("the end", True)]


@pytest.fixture
def stubborn_model(tiny_model):
    """A model whose last layer norm ignores its input and points at one token's embedding."""

    def build(token_id: int):
        with torch.no_grad():
            embeddings = tiny_model.get_input_embeddings().weight
            embeddings[token_id] *= 10
            tiny_model.transformer.ln_f.weight.zero_()
            tiny_model.transformer.ln_f.bias.copy_(embeddings[token_id])
        return tiny_model

    return build


def test_model_that_always_ends_answers_nothing_and_stops(stubborn_model, tokenizer):
    model = stubborn_model(tokenizer.eos_token_id)
    assert answer(QUESTIONS, model, tokenizer, progress=False) == [Answer("", stopped=True)] * len(
        QUESTIONS
    )


def test_model_that_never_ends_talks_up_to_the_limit_and_does_not_stop(stubborn_model, tokenizer):
    [seven] = tokenizer("7")["input_ids"]
    answers = answer(QUESTIONS, stubborn_model(seven), tokenizer, max_new_tokens=5, progress=False)
    assert answers == [Answer("77777", stopped=False)] * len(QUESTIONS)


def test_generate_options_reach_the_model(tiny_model, tokenizer):
    [seven] = tokenizer("7")["input_ids"]
    greedy = answer(["?"], tiny_model, tokenizer, max_new_tokens=4, progress=False)
    torch.manual_seed(0)
    sampled = answer(
        ["?"] * 8, tiny_model, tokenizer, max_new_tokens=4, progress=False, do_sample=True
    )
    assert (
        len({reply.text for reply in sampled}) > 1
    )  # greedy would answer the same question the same way
    assert (
        len(
            {
                reply.text
                for reply in answer(
                    ["?"] * 8, tiny_model, tokenizer, max_new_tokens=4, progress=False
                )
            }
            | {greedy[0].text}
        )
        == 1
    )
    biased = answer(
        ["?"],
        tiny_model,
        tokenizer,
        max_new_tokens=4,
        progress=False,
        sequence_bias={(seven,): 1e6},
    )
    assert biased[0].text == "7777"


def test_no_questions_no_answers(tiny_model, tokenizer):
    assert answer([], tiny_model, tokenizer, progress=False) == []


@pytest.mark.parametrize("side", ["left", "right"])
def test_tokenizer_of_the_caller_keeps_its_padding_side(tiny_model, tokenizer, side):
    """The pipeline pads on the left: neither the caller's tokenizer nor the answers may change."""
    own = copy.deepcopy(tokenizer)
    own.padding_side = side
    answers = answer(QUESTIONS, tiny_model, own, max_new_tokens=4, progress=False)
    assert own.padding_side == side
    own.padding_side = "left"
    assert answers == answer(QUESTIONS, tiny_model, own, max_new_tokens=4, progress=False)


@pytest.mark.parametrize("training", [True, False])
def test_model_is_evaluated_and_gets_its_mode_back(tiny_model, tokenizer, monkeypatch, training):
    tiny_model.train(training)
    modes = []
    generate = tiny_model.generate
    monkeypatch.setattr(
        tiny_model,
        "generate",
        lambda *args, **kwargs: modes.append(tiny_model.training) or generate(*args, **kwargs),
    )
    answer(["?"], tiny_model, tokenizer, max_new_tokens=1, progress=False)
    assert modes == [False]
    assert all(module.training == training for module in tiny_model.modules())


def test_model_gets_its_mode_back_after_an_error(tiny_model, tokenizer, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("out of memory")

    tiny_model.train()
    monkeypatch.setattr(tiny_model, "generate", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        answer(["?"], tiny_model, tokenizer, progress=False)
    assert tiny_model.training


def test_answering_leaves_no_setting_in_the_model(tiny_model, tokenizer):
    before = copy.deepcopy((tiny_model.generation_config.to_dict(), tiny_model.config.to_dict()))
    answer(
        ["?"],
        tiny_model,
        tokenizer,
        max_new_tokens=3,
        progress=False,
        do_sample=True,
        temperature=0.5,
    )
    assert (tiny_model.generation_config.to_dict(), tiny_model.config.to_dict()) == before
    assert all(parameter.grad is None for parameter in tiny_model.parameters())


def test_progress_is_shown_only_when_asked_for(tiny_model, tokenizer, capfd):
    answer(["?"], tiny_model, tokenizer, max_new_tokens=1, progress=False)
    assert "answering" not in capfd.readouterr().err
    answer(["?"], tiny_model, tokenizer, max_new_tokens=1)
    assert "answering" in capfd.readouterr().err


def test_pipeline_is_transformers_own_with_a_tokenizer_of_its_own(tiny_model, tokenizer):
    pipe = build_pipeline(tiny_model, tokenizer)
    assert isinstance(pipe, TextGenerationPipeline)
    assert pipe.model is tiny_model
    assert pipe.device == tiny_model.device
    assert pipe.tokenizer is not tokenizer
    assert pipe.tokenizer.get_vocab() == tokenizer.get_vocab()


def test_missing_input_is_not_asked_as_a_word(tiny_model, tokenizer, recorded):
    generated = recorded(tiny_model)
    try:
        answer(
            [{"instruction": "Name a river.", "input": None}],
            tiny_model,
            tokenizer,
            max_new_tokens=1,
            progress=False,
        )
    except ValueError:
        return
    assert generated[0][0] == encode_prompt("Name a river.", "", tokenizer)
