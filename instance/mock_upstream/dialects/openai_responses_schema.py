"""What OpenAI's `POST /responses` takes, after its published API reference."""

from __future__ import annotations

from instance.mock_upstream.dialects.openai_schemas import CHAT_OPTIONAL, METADATA, TOOL_NAME
from instance.mock_upstream.shapes import (
    BOOLEAN,
    INTEGER,
    NUMBER,
    OBJECT,
    STRING,
    Schema,
    between,
    enum,
    listed,
    nullable,
    record,
    tagged,
    text_or,
    text_or_list,
)

_ID = {"id": nullable(STRING)}
_STATUS = {"status": nullable(enum("in_progress", "completed", "incomplete"))}
_PARTS = tagged(
    "type",
    {
        "input_text": record({"text": STRING}, {"prompt_cache_breakpoint": OBJECT}),
        "input_image": record(
            {},
            {
                "image_url": nullable(STRING),
                "file_id": nullable(STRING),
                "detail": enum("auto", "low", "high", "original"),
                "prompt_cache_breakpoint": OBJECT,
            },
        ),
        "input_file": record(
            {},
            {
                "file_data": STRING,
                "file_id": nullable(STRING),
                "file_url": STRING,
                "filename": STRING,
                "detail": enum("auto", "low", "high"),
                "prompt_cache_breakpoint": OBJECT,
            },
        ),
        "input_audio": record({"input_audio": record({"data": STRING, "format": enum("mp3", "wav")})}),
        "output_text": record({"text": STRING}, {"annotations": listed(OBJECT), "logprobs": nullable(listed(OBJECT))}),
        "refusal": record({"refusal": STRING}),
    },
)
_MESSAGE = record(
    {"role": enum("user", "assistant", "system", "developer"), "content": text_or_list(_PARTS)},
    {"type": enum("message"), "phase": nullable(enum("commentary", "final_answer")), **_ID, **_STATUS},
)
_ITEMS: dict[str, Schema] = {
    "message": _MESSAGE,
    "function_call": record(
        {"call_id": STRING, "name": STRING, "arguments": STRING},
        {**_ID, **_STATUS, "namespace": STRING, "caller": nullable(OBJECT)},
    ),
    "function_call_output": record(
        {"call_id": STRING, "output": text_or_list(_PARTS)},
        {**_ID, **_STATUS, "name": nullable(STRING), "caller": nullable(OBJECT), "namespace": nullable(STRING)},
    ),
    "reasoning": record(
        {"summary": listed(record({"type": enum("summary_text"), "text": STRING}))},
        {
            **_ID,
            **_STATUS,
            "content": nullable(listed(record({"type": enum("reasoning_text"), "text": STRING}))),
            "encrypted_content": nullable(STRING),
        },
    ),
    "item_reference": record({"id": STRING}),
    "custom_tool_call": record({"call_id": STRING, "name": STRING, "input": STRING}, _ID),
    "custom_tool_call_output": record({"call_id": STRING, "output": text_or_list(_PARTS)}, _ID),
    **{
        name: {"type": "object"}
        for name in (
            "file_search_call", "web_search_call", "computer_call", "computer_call_output", "image_generation_call",
            "code_interpreter_call", "local_shell_call", "local_shell_call_output", "shell_call", "shell_call_output",
            "apply_patch_call", "apply_patch_call_output", "mcp_list_tools", "mcp_approval_request",
            "mcp_approval_response", "mcp_call", "compaction", "compaction_trigger", "tool_search_call",
            "tool_search_output", "additional_tools", "program", "program_output",
        )
    },
}  # fmt: skip
_ITEM: Schema = {"if": {"required": ["type"]}, "then": tagged("type", _ITEMS), "else": _MESSAGE}
_TOOLS = tagged(
    "type",
    {
        "function": record(
            {"name": TOOL_NAME},
            {
                "parameters": nullable(OBJECT),
                "strict": nullable(BOOLEAN),
                "description": nullable(STRING),
                "defer_loading": BOOLEAN,
                "allowed_callers": nullable(listed(STRING)),
                "output_schema": nullable(OBJECT),
            },
        ),
        **{
            name: {"type": "object"}
            for name in (
                "custom", "file_search", "web_search", "web_search_2025_08_26", "web_search_preview",
                "web_search_preview_2025_03_11", "computer", "computer_use_preview", "mcp", "code_interpreter",
                "image_generation", "local_shell", "shell", "apply_patch", "namespace", "tool_search",
                "programmatic_tool_calling",
            )
        },
    },
)  # fmt: skip
_FORMAT = tagged(
    "type",
    {
        "text": record({}),
        "json_object": record({}),
        "json_schema": record(
            {"name": TOOL_NAME, "schema": OBJECT}, {"description": STRING, "strict": nullable(BOOLEAN)}
        ),
    },
)
RESPONSES = record(
    {"model": STRING},
    {
        "access_programs": OBJECT,
        "background": nullable(BOOLEAN),
        "background_options": OBJECT,
        "context_management": nullable(listed(OBJECT)),
        "conversation": nullable(text_or(OBJECT)),
        "image": OBJECT,
        "include": nullable(listed(STRING)),
        "input": text_or_list(_ITEM, 1),
        "instructions": nullable(STRING),
        "max_output_tokens": nullable(between(16, 10_000_000, "integer")),
        "max_tool_calls": nullable(INTEGER),
        "metadata": nullable(METADATA),
        "moderation": nullable(OBJECT),
        "parallel_tool_calls": nullable(BOOLEAN),
        "previous_response_id": nullable(STRING),
        "prompt": nullable(record({"id": STRING}, {"variables": nullable(OBJECT), "version": nullable(STRING)})),
        "prompt_cache_key": nullable(STRING),
        "prompt_cache_options": OBJECT,
        "prompt_cache_retention": nullable(enum("in_memory", "24h")),
        "reasoning": nullable(
            record(
                {},
                {
                    "effort": CHAT_OPTIONAL["reasoning_effort"],
                    "summary": nullable(enum("auto", "concise", "detailed")),
                    "generate_summary": nullable(enum("auto", "concise", "detailed")),
                    "context": nullable(enum("auto", "current_turn", "all_turns")),
                    "mode": STRING,
                },
            )
        ),
        "safety_identifier": nullable(STRING),
        "service_tier": CHAT_OPTIONAL["service_tier"],
        "store": nullable(BOOLEAN),
        "stream": nullable(BOOLEAN),
        "stream_options": nullable(record({}, {"include_obfuscation": BOOLEAN})),
        "temperature": nullable(between(0, 2)),
        "text": record({}, {"format": _FORMAT, "verbosity": CHAT_OPTIONAL["verbosity"]}),
        "tool_choice": {
            **text_or({"type": "object", "required": ["type"]}),
            "else": {"enum": ["none", "auto", "required"]},
        },
        "tools": listed(_TOOLS),
        "top_logprobs": nullable(between(0, 20, "integer")),
        "top_p": nullable({**NUMBER, "minimum": 0, "maximum": 1}),
        "truncation": nullable(enum("auto", "disabled")),
        "user": STRING,
    },
)
