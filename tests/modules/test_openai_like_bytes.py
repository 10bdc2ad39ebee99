"""What a shim has nothing to change of goes out and comes back byte for byte."""

import orjson
import pytest

from tests.mock_replies import Reply
from tests.modules.conftest import pytest_asyncio_loop_factories
from tests.modules.openai_like import HI, chunk, completion, provider, sse

__all__ = ["pytest_asyncio_loop_factories"]

PLACES = {
    "mistral": ("/mistral/v1", "mistral-small-latest"),
    "groq": ("/groq/openai/v1", "llama-3.3-70b-versatile"),
    "together": ("/together/v1", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
    "deepseek": ("/deepseek", "deepseek-chat"),
    "perplexity": ("/perplexity", "sonar"),
}
USAGE = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}


@pytest.mark.parametrize("kind", PLACES)
async def test_a_whole_call(kind: str) -> None:
    tail, model = PLACES[kind]
    async with provider(kind, tail, model) as s:
        body = b' {"temperature": 0.5 ,"messages":' + orjson.dumps(HI) + b',"model":"' + model.encode() + b'"}\n'
        answer = orjson.dumps(completion("hello"), option=orjson.OPT_INDENT_2)
        s.mock.script(Reply(body=answer))
        headers = {"X-Stockyard-Provider": kind, "content-type": "application/json"}
        came = await s.http().post("/v1/chat/completions", content=body, headers=headers)
        assert s.mock.calls[-1].body == body
        assert came.content == answer


@pytest.mark.parametrize("kind", ["groq", "together", "deepseek"])
async def test_a_streamed_call(kind: str) -> None:
    tail, model = PLACES[kind]
    async with provider(kind, tail, model) as s:
        asked = {"model": model, "messages": HI, "stream": True, "stream_options": {"include_usage": True}}
        body = orjson.dumps(asked)
        answer = sse(
            chunk({"role": "assistant", "content": "a"}),
            chunk({"content": " b"}),
            chunk({}, "stop"),
            chunk(None, usage=USAGE),
        )
        s.mock.script(Reply(body=answer, content_type="text/event-stream"))
        headers = {"X-Stockyard-Provider": kind, "content-type": "application/json"}
        came = await s.http().post("/v1/chat/completions", content=body, headers=headers)
        assert s.mock.calls[-1].body == body
        assert came.content == answer
