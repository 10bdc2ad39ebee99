"""Whatever stands in a request that was let in, a dialect writes it or refuses it with a reason; nothing else."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instance.chute.dialects.cohere.request import write_chat as write_cohere
from instance.chute.dialects.gemini.contents import remote_urls as gemini_urls
from instance.chute.dialects.gemini.request import write_chat as write_gemini
from instance.chute.dialects.ollama.request import output_tokens
from instance.chute.dialects.ollama.request import remote_urls as ollama_urls
from instance.chute.dialects.ollama.request import write_chat as write_ollama
from instance.chute.dialects.openai_chat import check_chat
from instance.chute.dialects.replicate.chat import write_chat as write_replicate
from instance.chute.dialects.replicate.images import write_images
from instance.chute.dialects.replicate.input_schema import InputSchema
from instance.core.errors import StockyardError
from instance.core.settings import LimitSettings

JSON = dict[str, Any]
SCHEMA = InputSchema(
    {
        "components": {
            "schemas": {
                "Input": {
                    "properties": {
                        "prompt": {"type": "string"},
                        "system_prompt": {"type": "string"},
                        "max_tokens": {"type": "integer", "minimum": 1},
                        "stop_sequences": {"type": "string"},
                        "image": {"type": "string"},
                        "aspect_ratio": {"type": "string", "enum": ["1:1", "16:9"]},
                        "num_outputs": {"type": "integer", "maximum": 4},
                        "output_format": {"type": "string", "enum": ["png"]},
                    }
                }
            }
        }
    }
)


def ollama(req: JSON) -> Any:
    ollama_urls(req["messages"])
    output_tokens(req)
    return write_ollama(req, "m", stream=False, num_ctx=4096)[0]


def gemini(req: JSON) -> Any:
    gemini_urls(req["messages"])
    return write_gemini(req, "gemini-3-flash").body


WRITERS: dict[str, Callable[[JSON], Any]] = {
    "cohere": lambda req: write_cohere(req, "m", stream=True)[0],
    "gemini": gemini,
    "ollama": ollama,
    "replicate": lambda req: write_replicate(req, "a/b", SCHEMA)[0],
}

SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4) | st.just("data:image/png;base64,AAAA")
ODD = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(("name", "type", "url", "function")), inner, max_size=2), max_leaves=4
)  # fmt: skip
KINDS = ("text", "image_url", "input_audio", "file", "refusal", "document")
PARTS = st.fixed_dictionaries({"type": st.sampled_from(KINDS) | ODD}, optional=dict.fromkeys(KINDS, ODD))
CALLS = st.fixed_dictionaries(
    {},
    optional={
        "id": ODD,
        "function": st.fixed_dictionaries({"name": st.just("f") | ODD, "arguments": st.just("{}") | ODD}) | ODD,
    },
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(("system", "developer", "user", "assistant", "tool", "function", "other"))},
    optional={
        "content": st.none() | st.text(max_size=4) | st.lists(PARTS, max_size=2),
        "tool_calls": st.lists(CALLS | ODD, max_size=2) | ODD,
        "tool_call_id": ODD,
        "name": ODD,
        "function_call": ODD,
        "reasoning_content": ODD,
        "reasoning_details": ODD,
    },
)
PARAMETERS = ODD | st.fixed_dictionaries(
    {"type": st.sampled_from(("object", "array", "string", None)) | ODD},
    optional={
        "properties": st.dictionaries(st.sampled_from(("a", "$ref")), ODD, max_size=2) | ODD,
        "items": ODD,
        "required": ODD,
        "enum": ODD,
        "anyOf": ODD,
        "allOf": ODD,
        "oneOf": ODD,
        "$ref": st.sampled_from(("#", "#/properties/a", "#/allOf/0")) | ODD,
        "prefixItems": ODD,
        "format": ODD,
    },
)
TOOLS = st.lists(
    st.fixed_dictionaries({"type": st.just("function")}, optional={"function": st.fixed_dictionaries({"name": st.just("f") | ODD, "parameters": PARAMETERS}) | ODD}) | ODD,
    max_size=2,
)  # fmt: skip
FIELDS = (
    "temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "stop", "seed", "logprobs", "top_logprobs",
    "functions", "function_call", "tool_choice", "reasoning_effort", "modalities", "audio", "web_search_options", "user",
    "gemini", "google", "cohere", "ollama", "replicate", "input", "options", "keep_alive", "think", "format", "documents",
    "thinking", "safety_settings", "thinking_config", "extra_body", "parallel_tool_calls", "n", "num_ctx",
)  # fmt: skip
REQUESTS = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGES, min_size=1, max_size=3)},
    optional={
        "tools": TOOLS,
        "response_format": ODD
        | st.fixed_dictionaries(
            {"type": st.sampled_from(("json_schema", "json_object", "text"))},
            optional={"json_schema": ODD | st.fixed_dictionaries({"schema": PARAMETERS})},
        ),
        **dict.fromkeys(FIELDS, ODD),
    },
)


@pytest.mark.parametrize("dialect", sorted(WRITERS))
@settings(max_examples=400, deadline=None)
@given(req=REQUESTS)
def test_an_odd_request_is_written_or_refused(dialect: str, req: JSON) -> None:
    before = orjson.dumps(req)
    try:
        check_chat(req, LimitSettings())
        orjson.dumps(WRITERS[dialect](req))
    except StockyardError as error:
        assert error.status < 500
    assert orjson.dumps(req) == before, "the request itself is never changed"


@settings(max_examples=300, deadline=None)
@given(
    req=st.fixed_dictionaries(
        {"prompt": st.text(max_size=4) | ODD},
        optional={
            "size": st.sampled_from(("auto", "1024x768", "0x0", "x")) | ODD,
            "n": st.integers(1, 10) | st.none(),
            **dict.fromkeys(("output_format", "response_format", "quality", "replicate", "input"), ODD),
        },
    )
)
def test_an_odd_image_request_is_written_or_refused(req: JSON) -> None:
    try:
        orjson.dumps(write_images(req, SCHEMA)[0])
    except StockyardError as error:
        assert error.status == 400
