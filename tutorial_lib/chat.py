"""``python -m tutorial_lib.chat --model DIR``: talk to a model, one question at a time."""

import argparse
import sys
from collections.abc import Sequence

from tutorial_lib.command import run_command
from tutorial_lib.profiles import get_profile


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer each line of standard input until it ends, or until an empty line."""
    profile = get_profile()
    parser = argparse.ArgumentParser("python -m tutorial_lib.chat", description="Talk to a model.")
    add = parser.add_argument
    add("--model", default=profile.model, help=f"a folder or hub id (default: {profile.model})")
    add("--max-new-tokens", type=int, default=profile.max_new_tokens, help="longest answer")
    add("--temperature", type=float, help="sample answers (default: the most likely token)")
    options = parser.parse_args(arguments)

    from tutorial_lib.inference import answer
    from tutorial_lib.models import load_model, load_tokenizer, pick_device

    tokenizer, model = load_tokenizer(options.model), load_model(options.model)
    model.to(pick_device())
    settings = {"max_new_tokens": options.max_new_tokens, "progress": False}
    if options.temperature:
        settings |= {"do_sample": True, "temperature": options.temperature}
    if sys.stdin.isatty():
        print("Ask in Chinese or English; an empty line ends the chat. No question is remembered.")
    while question := _read_question():
        [reply] = answer([question], model, tokenizer, **settings)
        print(reply.text.strip() + ("" if reply.stopped else " …"), flush=True)


def _read_question() -> str:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""


if __name__ == "__main__":
    run_command(main)
