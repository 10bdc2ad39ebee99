"""A chat as one prompt, in the words that a family of models was taught to speak in."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

Template = Literal["llama3", "llama2", "mistral", "chatml", "gemma", "plain"]

FAMILIES: tuple[tuple[str, Template], ...] = (
    ("*llama-3*", "llama3"),
    ("*llama-4*", "llama3"),
    ("*llama-2*", "llama2"),
    ("*codellama*", "llama2"),
    ("*mistral*", "mistral"),
    ("*mixtral*", "mistral"),
    ("*gemma*", "gemma"),
    ("*qwen*", "chatml"),
    ("*yi-*chat*", "chatml"),
    ("*hermes*", "chatml"),
    ("*dolphin*", "chatml"),
)


class Turn(NamedTuple):
    """One message: `role` is `system`, `user` or `assistant`."""

    role: str
    text: str


def template_of(model: str, own: Mapping[str, Template]) -> Template:
    """The template of a model: the first glob of `own` that fits, else by its family, else `plain`."""
    name = model.lower()
    for glob, template in own.items():
        if fnmatchcase(name, glob.lower()):
            return template
    return next((template for glob, template in FAMILIES if fnmatchcase(name, glob)), "plain")


def prompt_of(turns: list[Turn], template: Template) -> str:
    """The prompt that lets the model speak next. A lone message of the user is its own prompt in `plain`."""
    if template == "llama3":
        said = "".join(f"<|start_header_id|>{turn.role}<|end_header_id|>\n\n{turn.text}<|eot_id|>" for turn in turns)
        return f"<|begin_of_text|>{said}<|start_header_id|>assistant<|end_header_id|>\n\n"
    if template == "chatml":
        said = "".join(f"<|im_start|>{turn.role}\n{turn.text}<|im_end|>\n" for turn in turns)
        return f"{said}<|im_start|>assistant\n"
    if template == "gemma":
        said = "".join(
            f"<start_of_turn>{'model' if turn.role == 'assistant' else 'user'}\n{turn.text}<end_of_turn>\n"
            for turn in _system_in_user(turns, "", "\n\n")
        )
        return f"{said}<start_of_turn>model\n"
    if template in ("llama2", "mistral"):
        before, after = ("<<SYS>>\n", "\n<</SYS>>\n\n") if template == "llama2" else ("", "\n\n")
        return "<s>" + "".join(
            f" {turn.text}</s>" if turn.role == "assistant" else f"[INST] {turn.text} [/INST]"
            for turn in _system_in_user(turns, before, after)
        )
    if len(turns) == 1 and turns[0].role == "user":
        return turns[0].text
    names = {"system": "System", "assistant": "Assistant"}
    return "\n\n".join(f"{names.get(turn.role, 'User')}: {turn.text}" for turn in turns) + "\n\nAssistant:"


def _system_in_user(turns: list[Turn], before: str, after: str) -> list[Turn]:
    """The turns without a system role: what it said stands in front of the first user's message."""
    system = "\n\n".join(turn.text for turn in turns if turn.role == "system")
    rest = [turn for turn in turns if turn.role != "system"]
    if not system:
        return rest
    for place, turn in enumerate(rest):
        if turn.role == "user":
            joined = Turn("user", f"{before}{system}{after}{turn.text}")
            return [*rest[:place], joined, *rest[place + 1 :]]
    return [Turn("user", system), *rest]
