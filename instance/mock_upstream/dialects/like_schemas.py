"""What the providers take whose chat resembles OpenAI's: which of its fields, and which of their own."""

from __future__ import annotations

from collections.abc import Mapping

from instance.mock_upstream.dialects.openai_schemas import (
    CHAT_OPTIONAL,
    COMPLETIONS,
    FUNCTION_CALL,
    MESSAGES,
    TEXT_PART,
    TOOL_NAME,
)
from instance.mock_upstream.shapes import (
    ANYTHING,
    BOOLEAN,
    COUNT,
    INTEGER,
    NUMBER,
    OBJECT,
    STRING,
    STRINGS,
    Schema,
    between,
    enum,
    listed,
    mapping,
    nullable,
    record,
    tagged,
    text_or,
    text_or_list,
)


def chat_of(taken: str, own: Mapping[str, Schema] | None = None, messages: Mapping[str, Schema] = MESSAGES) -> Schema:
    """A chat request with the fields of OpenAI's that are named in `taken`, and `own` ones."""
    optional = {name: CHAT_OPTIONAL[name] for name in taken.split()}
    return record({"model": STRING, "messages": listed(tagged("role", messages), 1)}, {**optional, **(own or {})})


def _without(message: Schema, *names: str) -> Schema:
    return {**message, "properties": {name: one for name, one in message["properties"].items() if name not in names}}


def _with(message: Schema, fields: Mapping[str, Schema]) -> Schema:
    return {**message, "properties": {**message["properties"], **fields}}


_TOOL_CALL = record({"id": STRING, "function": FUNCTION_CALL}, {"type": enum("function"), "index": INTEGER})
_COMMON = "max_tokens n stop stream temperature tools tool_choice top_p frequency_penalty presence_penalty seed"
_REASONING = {"reasoning_content": nullable(STRING)}

# Mistral
_THINK = record({"thinking": listed(TEXT_PART)}, {"closed": BOOLEAN, "signature": nullable(STRING)})
_MISTRAL_CALL = record(
    {"id": STRING, "function": record({"name": STRING, "arguments": text_or(OBJECT)})},
    {"type": enum("function"), "index": INTEGER},
)
_MISTRAL_PARTS = tagged(
    "type",
    {
        "text": record({"text": STRING}),
        "image_url": record({"image_url": text_or(record({"url": STRING}, {"detail": nullable(STRING)}))}),
        "document_url": record({"document_url": STRING}, {"document_name": nullable(STRING)}),
        "input_audio": record({"input_audio": ANYTHING}),
        "file": record({"file_id": STRING}),
        "reference": record({"reference_ids": listed(ANYTHING)}),
        "thinking": _THINK,
    },
)
_MISTRAL_FUNCTION = record({"name": TOOL_NAME, "parameters": OBJECT}, {"description": STRING, "strict": BOOLEAN})
MISTRAL = record(
    {
        "model": STRING,
        "messages": listed(
            tagged(
                "role",
                {
                    "system": record({"content": text_or_list(_MISTRAL_PARTS)}),
                    "user": record({"content": nullable(text_or_list(_MISTRAL_PARTS))}),
                    "assistant": record(
                        {},
                        {
                            "content": nullable(text_or_list(_MISTRAL_PARTS)),
                            "tool_calls": nullable(listed(_MISTRAL_CALL)),
                            "prefix": BOOLEAN,
                        },
                    ),
                    "tool": record(
                        {"content": nullable(text_or_list(_MISTRAL_PARTS))},
                        {"tool_call_id": nullable(STRING), "name": nullable(STRING)},
                    ),
                },
            ),
            1,
        ),
    },
    {
        "temperature": nullable(between(0, 1.5)),
        "top_p": nullable(between(0, 1)),
        "top_k": nullable(INTEGER),
        "max_tokens": nullable({**INTEGER, "minimum": 0}),
        "min_tokens": nullable(INTEGER),
        "stream": BOOLEAN,
        "stop": nullable({**STRINGS, "type": ["string", "array"]}),
        "random_seed": nullable({**INTEGER, "minimum": 0}),
        "metadata": nullable(OBJECT),
        "response_format": record(
            {"type": enum("text", "json_object", "json_schema")},
            {
                "json_schema": nullable(
                    record({"name": STRING, "schema": OBJECT}, {"description": nullable(STRING), "strict": BOOLEAN})
                )
            },
        ),
        "tools": nullable(listed(record({"function": _MISTRAL_FUNCTION}, {"type": enum("function")}))),
        "tool_choice": {
            **text_or(record({"function": record({"name": STRING})}, {"type": enum("function")})),
            "else": {"enum": ["auto", "none", "any", "required"]},
        },
        "presence_penalty": nullable(between(-2, 2)),
        "frequency_penalty": nullable(between(-2, 2)),
        "repetition_penalty": nullable(NUMBER),
        "n": nullable(COUNT),
        "prediction": CHAT_OPTIONAL["prediction"],
        "parallel_tool_calls": BOOLEAN,
        "reasoning_effort": nullable(enum("none", "low", "medium", "high")),
        "prompt_mode": nullable(enum("reasoning")),
        "guardrails": nullable(listed(OBJECT)),
        "prompt_cache_key": nullable(STRING),
        "safe_prompt": BOOLEAN,
    },
)
MISTRAL_EMBEDDINGS = record(
    {"model": STRING, "input": text_or_list(STRING)},
    {
        "metadata": nullable(OBJECT),
        "output_dimension": nullable(COUNT),
        "output_dtype": enum("float", "int8", "uint8", "binary", "ubinary"),
        "encoding_format": enum("float", "base64"),
    },
)

# Groq: no logprobs, no logit_bias, no names on messages
_GROQ_MESSAGES = {
    **{role: _without(message, "name", "refusal", "audio", "annotations") for role, message in MESSAGES.items()},
    "tool": _with(MESSAGES["tool"], {"name": STRING}),
}
_GROQ_MESSAGES["assistant"] = _with(
    _GROQ_MESSAGES["assistant"], {"reasoning": nullable(STRING), "tool_calls": nullable(listed(_TOOL_CALL))}
)
GROQ = chat_of(
    "function_call functions max_completion_tokens max_tokens metadata parallel_tool_calls presence_penalty "
    "frequency_penalty response_format seed stop store stream stream_options temperature tool_choice tools top_p user",
    {
        "n": nullable(INTEGER),
        "include_reasoning": nullable(BOOLEAN),
        "reasoning_effort": nullable(enum("none", "default", "low", "medium", "high")),
        "reasoning_format": nullable(enum("hidden", "raw", "parsed")),
        "service_tier": nullable(enum("auto", "on_demand", "flex", "performance")),
        "documents": nullable(listed(OBJECT)),
        "citation_options": nullable(enum("enabled", "disabled")),
        "search_settings": nullable(OBJECT),
        "compound_custom": nullable(OBJECT),
        "disable_tool_validation": BOOLEAN,
    },
    _GROQ_MESSAGES,
)

# Together
TOGETHER = chat_of(
    _COMMON + " logit_bias stream_options parallel_tool_calls user",
    {
        "logprobs": between(0, 20, "integer"),
        "echo": BOOLEAN,
        "min_p": between(0, 1),
        "top_k": INTEGER,
        "repetition_penalty": NUMBER,
        "response_format": tagged(
            "type",
            {
                "text": record({}),
                "json_object": record({}, {"schema": OBJECT}),
                "json_schema": record(
                    {},
                    {
                        "schema": OBJECT,
                        "json_schema": record(
                            {"name": STRING}, {"schema": OBJECT, "description": STRING, "strict": nullable(BOOLEAN)}
                        ),
                    },
                ),
                "regex": record({"pattern": STRING}),
            },
        ),
        "safety_model": STRING,
        "context_length_exceeded_behavior": enum("truncate", "error"),
        "chat_template_kwargs": OBJECT,
        "reasoning": OBJECT,
        "reasoning_effort": enum("low", "medium", "high"),
        "compliance": enum("hipaa"),
    },
    {**MESSAGES, "assistant": _with(MESSAGES["assistant"], {**_REASONING, "reasoning": nullable(STRING)})},
)
TOGETHER_IMAGES = record(
    {"model": STRING, "prompt": STRING},
    {
        "disable_safety_checker": BOOLEAN,
        "guidance_scale": NUMBER,
        "height": COUNT,
        "width": COUNT,
        "image_loras": listed(OBJECT),
        "image_url": STRING,
        "n": COUNT,
        "negative_prompt": STRING,
        "output_format": enum("jpeg", "png"),
        "reference_images": STRINGS,
        "response_format": enum("base64", "url"),
        "seed": INTEGER,
        "steps": COUNT,
    },
)
EMBEDDINGS = record(
    {"model": STRING, "input": {"type": ["string", "array"], "minItems": 1}},
    {"dimensions": COUNT, "encoding_format": enum("float", "base64"), "user": STRING},
)
_SAMPLING: dict[str, Schema] = {"top_k": INTEGER, "min_p": NUMBER, "repetition_penalty": NUMBER, "echo": BOOLEAN}
COMPLETIONS_MORE: Schema = {
    **COMPLETIONS,
    "properties": {**COMPLETIONS["properties"], **_SAMPLING, "safety_model": STRING, "raw_output": BOOLEAN},
}
TOGETHER_SPEECH = record(
    {"model": STRING, "input": STRING, "voice": STRING},
    {
        "language": STRING,
        "response_encoding": STRING,
        "response_format": enum("mp3", "wav", "raw", "mulaw"),
        "sample_rate": INTEGER,
        "speed": NUMBER,
        "stream": BOOLEAN,
    },
)
MISTRAL_MODERATIONS = record(
    {"model": STRING, "input": text_or_list(STRING)}, {"metadata": nullable(OBJECT), "guardrails": OBJECT}
)
MISTRAL_TRANSCRIPTIONS = record(
    {"model": STRING},
    {
        "file": STRING,
        "file_url": STRING,
        "file_id": STRING,
        "language": STRING,
        "prompt": STRING,
        "response_format": STRING,
        "temperature": STRING,
        "stream": enum("true", "false"),
        "timestamp_granularities": {"type": ["string", "array"]},
    },
)

# DeepSeek
_ONLY_TEXT = text_or_list(tagged("type", {"text": record({"text": STRING})}))
_DEEPSEEK_TEXTS = {
    role: {**message, "properties": {**message["properties"], "content": _ONLY_TEXT}}
    for role, message in MESSAGES.items()
}
DEEPSEEK = chat_of(
    "frequency_penalty max_tokens presence_penalty stop stream stream_options temperature top_p tools tool_choice "
    "logprobs top_logprobs",
    {
        "response_format": record({"type": enum("text", "json_object")}),
        "thinking": record({"type": enum("enabled", "disabled")}),
        "reasoning_effort": enum("low", "medium", "high", "max"),
        "stop": nullable({**STRINGS, "type": ["string", "array"], "maxItems": 16}),
    },
    {
        **{role: _DEEPSEEK_TEXTS[role] for role in ("system", "user", "tool")},
        "assistant": record(
            {},
            {
                "content": nullable(_ONLY_TEXT),
                "name": STRING,
                "prefix": BOOLEAN,
                "tool_calls": listed(_TOOL_CALL, 1),
                **_REASONING,
            },
        ),
    },
)

# Fireworks
FIREWORKS = chat_of(
    _COMMON + " function_call functions logit_bias max_completion_tokens metadata parallel_tool_calls prediction "
    "prompt_cache_key stream_options top_logprobs user",
    {
        "context_length_exceeded_behavior": enum("error", "truncate"),
        "echo": nullable(BOOLEAN),
        "echo_last": nullable(INTEGER),
        "ignore_eos": BOOLEAN,
        "logprobs": nullable({"type": ["integer", "boolean"]}),
        "min_p": nullable(between(0, 1)),
        "mirostat_lr": nullable(NUMBER),
        "mirostat_target": nullable(NUMBER),
        "perf_metrics_in_response": nullable(BOOLEAN),
        "prompt_cache_isolation_key": nullable(STRING),
        "prompt_truncate_len": nullable(INTEGER),
        "raw_output": nullable(BOOLEAN),
        "reasoning_effort": nullable({"type": ["string", "integer", "boolean"]}),
        "reasoning_history": nullable(enum("disabled", "interleaved", "preserved")),
        "repetition_penalty": nullable(between(0, 2)),
        "response_format": record(
            {"type": enum("text", "json_object", "json_schema", "grammar")},
            {
                "grammar": nullable(STRING),
                "schema": nullable({"type": ["string", "object"]}),
                "json_schema": nullable({"type": ["string", "object"]}),
            },
        ),
        "return_token_ids": nullable(BOOLEAN),
        "safe_tokenization": nullable(BOOLEAN),
        "service_tier": enum("auto", "default", "flex", "priority"),
        "speculation": nullable({"type": ["string", "array"]}),
        "thinking": nullable(OBJECT),
        "top_k": nullable(between(0, 100, "integer")),
        "typical_p": nullable(between(0, 1)),
    },
    {**MESSAGES, "assistant": _with(MESSAGES["assistant"], _REASONING)},
)

# Perplexity
_PERPLEXITY_PARTS = tagged(
    "type",
    {
        "text": record({"text": STRING}),
        "image_url": record({"image_url": text_or(record({"url": STRING}, {"detail": STRING}))}),
        "file_url": record({"file_url": text_or(record({"url": STRING}))}, {"file_name": STRING}),
        "video_url": record({"video_url": ANYTHING}),
        "pdf_url": record({"pdf_url": ANYTHING}),
    },
)
_PERPLEXITY_CONTENT = record({"content": nullable(text_or_list(_PERPLEXITY_PARTS))})
_DATE: Schema = {"type": "string", "pattern": "^[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}$"}
PERPLEXITY = chat_of(
    "max_tokens stream temperature top_p frequency_penalty presence_penalty",
    {
        "country": STRING,
        "disable_search": BOOLEAN,
        "enable_search_classifier": BOOLEAN,
        "image_domain_filter": listed(STRING, at_most=10),
        "image_format_filter": STRINGS,
        "language_preference": STRING,
        "last_updated_after_filter": _DATE,
        "last_updated_before_filter": _DATE,
        "num_search_results": INTEGER,
        "reasoning_effort": enum("minimal", "low", "medium", "high"),
        "response_format": tagged(
            "type",
            {
                "text": record({}),
                "json_schema": record(
                    {
                        "json_schema": record(
                            {"schema": OBJECT},
                            {"name": STRING, "description": STRING, "strict": nullable(BOOLEAN)},
                        )
                    }
                ),
                "regex": record({"regex": record({"regex": STRING}, {"name": STRING})}),
            },
        ),
        "return_images": BOOLEAN,
        "return_related_questions": BOOLEAN,
        "safe_search": BOOLEAN,
        "search_after_date_filter": _DATE,
        "search_before_date_filter": _DATE,
        "search_domain_filter": listed(STRING, at_most=20),
        "search_language_filter": STRINGS,
        "search_mode": enum("web", "academic", "sec"),
        "search_recency_filter": enum("hour", "day", "week", "month", "year"),
        "stream_mode": enum("full", "concise"),
        "top_k": {**INTEGER, "minimum": 0},
        "web_search_options": record(
            {},
            {
                "search_context_size": enum("low", "medium", "high"),
                "search_type": enum("fast", "pro", "auto"),
                "user_location": mapping(ANYTHING),
                "image_results_enhanced_relevance": BOOLEAN,
                "image_search_relevance_enhanced": BOOLEAN,
            },
        ),
    },
    {"system": _PERPLEXITY_CONTENT, "user": _PERPLEXITY_CONTENT, "assistant": _PERPLEXITY_CONTENT},
)
