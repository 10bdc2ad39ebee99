"""What Replicate's models take, by family: each model publishes a schema of its inputs, and refuses others."""

from __future__ import annotations

import re
from typing import Any

from instance.mock_upstream.shapes import BOOLEAN, INTEGER, NUMBER, OBJECT, STRING, Schema, enum, listed, record

_TEXT: dict[str, Schema] = {"temperature": NUMBER, "top_p": NUMBER, "top_k": INTEGER, "seed": INTEGER}
_ASPECT = enum("1:1", "16:9", "21:9", "3:2", "2:3", "4:5", "5:4", "3:4", "4:3", "9:16", "9:21")

FAMILIES: tuple[tuple[str, dict[str, Schema]], ...] = (
    (
        "flux",
        {
            "prompt": STRING,
            "aspect_ratio": _ASPECT,
            "num_outputs": INTEGER,
            "num_inference_steps": INTEGER,
            "seed": INTEGER,
            "output_format": enum("webp", "jpg", "png"),
            "output_quality": INTEGER,
            "disable_safety_checker": BOOLEAN,
        },
    ),
    (
        "sdxl",
        {
            "prompt": STRING,
            "negative_prompt": STRING,
            "width": INTEGER,
            "height": INTEGER,
            "num_outputs": INTEGER,
            "num_inference_steps": INTEGER,
            "guidance_scale": NUMBER,
            "seed": INTEGER,
        },
    ),
    (
        "gpt",
        {
            "prompt": STRING,
            "system_prompt": STRING,
            "messages": listed(OBJECT),
            "image_input": listed(STRING),
            "max_completion_tokens": INTEGER,
            "temperature": NUMBER,
            "top_p": NUMBER,
        },
    ),
    ("claude", {"prompt": STRING, "system_prompt": STRING, "max_tokens": INTEGER, "image": STRING}),
    ("llava", {"prompt": STRING, "image": STRING, "max_tokens": INTEGER, "temperature": NUMBER, "top_p": NUMBER}),
    ("mistral", {"prompt": STRING, "max_new_tokens": INTEGER, "prompt_template": STRING, **_TEXT}),
    ("gemma", {"prompt": STRING, "max_new_tokens": INTEGER, "repetition_penalty": NUMBER, **_TEXT}),
    ("flan", {"prompt": STRING, "max_length": INTEGER, "temperature": NUMBER, "top_p": NUMBER}),
)
OTHERS: dict[str, Schema] = {
    "prompt": STRING,
    "system_prompt": STRING,
    "prompt_template": STRING,
    "max_tokens": INTEGER,
    "min_tokens": INTEGER,
    "stop_sequences": STRING,
    "presence_penalty": NUMBER,
    "frequency_penalty": NUMBER,
    **_TEXT,
}
"""Llama and everything that no family's name is in."""

PREDICTION = record(
    {"input": OBJECT},
    {
        "version": STRING,
        "stream": BOOLEAN,
        "webhook": STRING,
        "webhook_events_filter": listed(enum("start", "output", "logs", "completed")),
    },
)

_USER_TURNS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"<\|start_header_id\|>user<\|end_header_id\|>\s*(.*?)<\|eot_id\|>",
        r"<\|im_start\|>user\s*(.*?)<\|im_end\|>",
        r"<start_of_turn>user\s*(.*?)<end_of_turn>",
        r"\[INST\]\s*(?:<<SYS>>.*?<</SYS>>\s*)?(.*?)\s*\[/INST\]",
        r"(?:^|\n)(?:User|Human): (.*?)(?=\n\n?(?:Assistant|User|Human|AI):|\Z)",
    )
)


def inputs_of(model: str) -> dict[str, Schema]:
    return next((fields for family, fields in FAMILIES if family in model), OTHERS)


def makes_pictures(model: str) -> bool:
    return "flux" in model or "sdxl" in model


def input_schema(model: str) -> Schema:
    fields = inputs_of(model)
    needed = {} if "messages" in fields else {"prompt": fields["prompt"]}
    return record(needed, fields)


def user_turn(given: dict[str, Any]) -> str:
    """The last thing that the user said, whatever template the prompt was made with."""
    for message in reversed(given.get("messages") or ()):
        if message.get("role") == "user":
            content = message.get("content")
            return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)
    prompt = str(given.get("prompt", ""))
    for pattern in _USER_TURNS:
        found = pattern.findall(prompt)
        if found:
            return str(found[-1]).strip()
    return prompt
