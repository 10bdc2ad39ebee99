"""What Ollama's API takes, after its published API reference.

Ollama itself passes over fields that it does not know; here they are refused, since what is passed over is lost.
"""

from __future__ import annotations

from instance.mock_upstream.shapes import (
    BOOLEAN,
    COUNT,
    INTEGER,
    NONEMPTY,
    NUMBER,
    OBJECT,
    STRING,
    STRINGS,
    Schema,
    between,
    enum,
    listed,
    nullable,
    record,
    text_or_list,
)

_IMAGES = listed({"type": "string", "pattern": "^[A-Za-z0-9+/]+={0,2}$"}, 1)
_COUNTS = (
    "num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "num_keep", "seed", "num_predict", "top_k",
    "repeat_last_n", "mirostat",
)  # fmt: skip
_NUMBERS = (
    "top_p", "min_p", "tfs_z", "typical_p", "temperature", "repeat_penalty", "presence_penalty",
    "frequency_penalty", "mirostat_tau", "mirostat_eta",
)  # fmt: skip
_SWITCHES = ("numa", "low_vram", "f16_kv", "use_mmap", "use_mlock", "penalize_newline", "embedding_only", "logits_all")
OPTIONS = record(
    {},
    {
        **dict.fromkeys(_COUNTS, INTEGER),
        **dict.fromkeys(_NUMBERS, NUMBER),
        **dict.fromkeys(_SWITCHES, BOOLEAN),
        "stop": STRINGS,
    },
)
_KEEP_ALIVE: Schema = {"type": ["string", "number"]}
_THINK: Schema = {"type": ["boolean", "string"], "if": {"type": "string"}, "then": {"enum": ["low", "medium", "high"]}}
_FORMAT: Schema = {"type": ["string", "object"], "if": {"type": "string"}, "then": {"enum": ["json", ""]}}
_CALL = record(
    {"function": record({"name": NONEMPTY, "arguments": OBJECT}, {"index": INTEGER, "description": STRING})},
    {"id": STRING, "type": enum("function")},
)
_MESSAGE = record(
    {"role": enum("system", "user", "assistant", "tool")},
    {
        "content": STRING,
        "thinking": STRING,
        "images": nullable(_IMAGES),
        "tool_calls": nullable(listed(_CALL)),
        "tool_name": STRING,
        "tool_call_id": STRING,
    },
)
_TOOL = record(
    {"type": enum("function"), "function": record({"name": NONEMPTY}, {"description": STRING, "parameters": OBJECT})}
)
_ASKED: dict[str, Schema] = {
    "format": _FORMAT,
    "options": OPTIONS,
    "stream": BOOLEAN,
    "think": _THINK,
    "keep_alive": _KEEP_ALIVE,
    "logprobs": BOOLEAN,
    "top_logprobs": between(0, 20, "integer"),
    "truncate": BOOLEAN,
    "shift": BOOLEAN,
}
CHAT = record({"model": NONEMPTY, "messages": listed(_MESSAGE)}, {"tools": listed(_TOOL), **_ASKED})
GENERATE = record(
    {"model": NONEMPTY},
    {
        "prompt": STRING,
        "suffix": STRING,
        "images": _IMAGES,
        "system": STRING,
        "template": STRING,
        "context": listed(INTEGER),
        "raw": BOOLEAN,
        **_ASKED,
    },
)
_BESIDE: dict[str, Schema] = {"truncate": BOOLEAN, "options": OPTIONS, "keep_alive": _KEEP_ALIVE, "dimensions": COUNT}
EMBED = record({"model": NONEMPTY, "input": text_or_list(STRING)}, _BESIDE)
EMBEDDINGS = record({"model": NONEMPTY}, {"prompt": STRING, "options": OPTIONS, "keep_alive": _KEEP_ALIVE})
NAMED = record(
    {}, {"model": STRING, "name": STRING, "stream": BOOLEAN, "insecure": BOOLEAN, "verbose": BOOLEAN, "system": STRING}
)
