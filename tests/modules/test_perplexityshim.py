"""perplexityshim over HTTP, with the official SDK."""

from typing import Any

import openai
import pytest

from tests.modules.conftest import pytest_asyncio_loop_factories
from tests.modules.openai_like import HI, WEATHER, chunk, completion, provider, sent, stream, streamed, text_of, whole

__all__ = ["pytest_asyncio_loop_factories"]

SOURCES = ["https://one.example/a", "https://two.example/b"]
RESULTS = [{"title": "One", "url": SOURCES[0], "date": "2026-01-01"}, {"title": "Two", "url": SOURCES[1]}]
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "num_search_queries": 1,
    "cost": {"input_tokens_cost": 0.001, "request_cost": 0.005, "total_cost": 0.00615},
}


def perplexity(settings: dict[str, Any] | None = None, tail: str = "/perplexity") -> Any:
    return provider("perplexity", tail, "sonar-pro", {"perplexityshim": settings} if settings is not None else None)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


async def test_text_streams_and_errors() -> None:
    async with perplexity() as s:
        answer = await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert answer.choices[0].message.content == "echo: hi"
        assert text_of(await streamed(s)) == "echo: hi"
        for code, expected in (
            (400, openai.BadRequestError),
            (401, openai.InternalServerError),
            (429, openai.RateLimitError),
            (500, openai.InternalServerError),
        ):
            s.mock.script(whole({"error": {"message": "said so", "type": "x", "code": code}}, code))
            with pytest.raises(expected, match="said so"):
                await s.sdk().chat.completions.create(model=s.model, messages=HI)


async def test_turns_arrive_as_the_rule_wants_them() -> None:
    history: list[Any] = [user("a"), user("b"), assistant("c"), user("d")]
    async with perplexity() as s:
        await s.sdk().chat.completions.create(model=s.model, messages=history)
        assert sent(s)["messages"] == [user("a\n\nb"), assistant("c"), user("d")]
        leading: list[Any] = [{"role": "system", "content": "s"}, assistant("hello\nthere"), user("hi")]
        await s.sdk().chat.completions.create(model=s.model, messages=leading)
        arrived = sent(s)["messages"]
        assert [message["role"] for message in arrived] == ["system", "user"]
        assert "> hello\n> there" in arrived[1]["content"] and arrived[1]["content"].endswith("hi")


async def test_sources_are_annotations_and_stay_under_perplexitys_name() -> None:
    text = "Rome is old [1]. So is Oslo[2][1]."
    async with perplexity() as s:
        s.mock.script(whole(completion(text, citations=SOURCES, search_results=RESULTS, usage=USAGE)))
        answer = await s.sdk().chat.completions.create(model=s.model, messages=HI)
        message = answer.choices[0].message
        assert message.content == text and message.annotations is not None
        cited = [one.url_citation for one in message.annotations]
        assert [one.url for one in cited] == [SOURCES[0], SOURCES[1], SOURCES[0]]
        assert [text[one.start_index : one.end_index] for one in cited] == ["[1]", "[2]", "[1]"]
        assert cited[0].title == "One"
        assert answer.model_extra is not None and answer.model_extra["perplexity"]["search_results"] == RESULTS


async def test_marks_can_be_taken_out_whole_and_streamed() -> None:
    async with perplexity({"strip_marks": True}) as s:
        s.mock.script(whole(completion("Rome [1] is.", citations=SOURCES)))
        answer = await s.sdk().chat.completions.create(model=s.model, messages=HI)
        message = answer.choices[0].message
        assert message.content == "Rome  is."
        assert message.annotations is not None
        assert [(one.url_citation.url, one.url_citation.start_index) for one in message.annotations] == [
            (SOURCES[0], 5),
            (SOURCES[1], 0),
        ]
        pieces = ["Rome [", "1", "] is", " [a]."]
        s.mock.script(stream(*growing(pieces, citations=SOURCES)))
        assert text_of(await streamed(s)) == "Rome  is [a]."


def growing(pieces: list[str], **more: Any) -> list[dict[str, Any]]:
    """A stream as Perplexity sends it: each chunk has the whole message so far beside the delta."""
    chunks = []
    said = ""
    for piece in pieces:
        said += piece
        message = {"role": "assistant", "content": said}
        chunks.append(chunk({"role": "assistant", "content": piece}, choice={"message": message}, usage=USAGE, **more))
    last = chunk(
        {"content": ""}, "stop", choice={"message": {"role": "assistant", "content": said}}, usage=USAGE, **more
    )
    return [*chunks, {**last, "object": "chat.completion.done"}]


async def test_thinking_never_shows_in_the_content_of_a_stream() -> None:
    async with perplexity() as s:
        s.mock.script(stream(*growing(["<thi", "nk>", "hm", "m</th", "ink>\n\n", "Rome [", "1]."], citations=SOURCES)))
        parts = await streamed(s, stream_options={"include_usage": True})
        assert text_of(parts) == "Rome [1]."
        extra = [c.delta.model_extra or {} for part in parts for c in part.choices]
        assert "".join(one.get("reasoning_content") or "" for one in extra) == "hmm"
        assert all(part.object == "chat.completion.chunk" for part in parts)
        assert not any("message" in (c.model_extra or {}) for part in parts for c in part.choices)
        [annotated] = [one["annotations"] for one in extra if "annotations" in one]
        assert (annotated[0]["url_citation"]["url"], annotated[0]["url_citation"]["start_index"]) == (SOURCES[0], 5)
        assert [part.usage.total_tokens for part in parts if part.usage] == [15] and parts[-1].choices == []
        s.mock.script(whole(completion("<think>hm</think>\nyes")))
        answer = await s.sdk().chat.completions.create(model=s.model, messages=HI)
        message = answer.choices[0].message
        assert message.content == "yes" and message.model_extra is not None
        assert message.model_extra["reasoning_content"] == "hm"


async def test_the_cost_that_is_reported_is_the_cost() -> None:
    async with perplexity() as s:
        s.mock.script(whole(completion("a", usage=USAGE)), stream(*growing(["a"])))
        raw = await s.sdk().chat.completions.with_raw_response.create(model=s.model, messages=HI)
        assert (await s.trace(raw.headers["x-stockyard-trace-id"]))["cost_usd"] == pytest.approx(0.00615)
        await streamed(s)
        [trace] = await s.recent_traces(1)
        assert trace["cost_usd"] == pytest.approx(0.00615)


async def test_search_options_and_what_perplexity_has_not() -> None:
    async with perplexity({"search_context": "high", "default_domains": ["example.org"]}) as s:
        raw = await s.sdk().chat.completions.with_raw_response.create(
            model=s.model,
            messages=HI,
            n=2,
            seed=1,
            stop=["x"],
            extra_body={"search_recency_filter": "week", "perplexity": {"return_images": True}},
        )
        body = sent(s)
        assert body["web_search_options"] == {"search_context_size": "high"}
        assert body["search_domain_filter"] == ["example.org"]
        assert (body["search_recency_filter"], body["return_images"]) == ("week", True)
        assert not {"n", "seed", "stop", "perplexity"} & set(body)
        trail = await s.trail(raw.headers["x-stockyard-trace-id"], "perplexityshim")
        assert trail[0][1]["dropped"] == ["n", "seed", "stop"]
        await s.sdk().chat.completions.create(
            model=s.model,
            messages=HI,
            web_search_options={
                "search_context_size": "low",
                "user_location": {"type": "approximate", "approximate": {"country": "IT", "timezone": "Europe/Rome"}},
            },
        )
        assert sent(s)["web_search_options"] == {"search_context_size": "low", "user_location": {"country": "IT"}}


async def test_tools_are_refused_where_nothing_may_be_dropped() -> None:
    async with perplexity({"on_unsupported": "reject"}) as s:
        with pytest.raises(openai.BadRequestError) as caught:
            await s.sdk().chat.completions.create(model=s.model, messages=HI, tools=[WEATHER])
        assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "tools")
