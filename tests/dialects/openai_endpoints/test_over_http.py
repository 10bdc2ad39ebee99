"""The endpoints beside chat in front of a provider that has them: what goes out, what comes back, and what it costs."""

import asyncio
import struct
from typing import Any

import httpx2
import openai
import orjson
import pytest

from tests.mock_replies import Reply, drop, garbage, stall, status
from tests.modules.conftest import Running, pytest_asyncio_loop_factories, running

__all__ = ["pytest_asyncio_loop_factories"]

PRICES = """
[prices."up/vectors"]
in_usd_per_mtok = 1000
[prices."up/gpt-image-1"]
in_usd_per_mtok = 5
image_out_usd_per_mtok = 40
[prices."up/dall-e"]
per_image_usd = 0.04
[prices."up/tts"]
per_million_characters_usd = 15
[prices."up/whisper"]
per_audio_minute_usd = 0.006
[prices."up/ranker"]
per_request_usd = 0.002
"""
MORE = '[providers.more]\nbase_url = "{url}"\napi_key = "k"\n'


def wav(seconds: int) -> tuple[str, bytes, str]:
    size = seconds * 16_000
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 16_000, 2, 16)
    head = struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + form + struct.pack("<4sI", b"data", size)
    return "talk.wav", head + bytes(size), "audio/wav"


async def trace_of(s: Running, answer: httpx2.Response) -> dict[str, Any]:
    return await s.trace(answer.headers["x-stockyard-trace-id"])


async def test_a_body_goes_out_and_comes_back_byte_for_byte() -> None:
    async with running({"embedcache": False}) as s:
        for path, body in (
            ("embeddings", b'{ "model":"up/small","input" : ["a"],  "user":"u"}'),
            ("moderations", b'{ "model":"up/small",  "input":"a"}'),
            ("rerank", b'{ "model":"up/small",  "query":"a", "documents":["a", "b"]}'),
            ("images/generations", b'{ "model":"up/small",  "prompt":"a"}'),
        ):
            # the model's name is all that has to change
            answer = await s.http().post(f"/v1/{path}", content=body, headers={"content-type": "application/json"})
            assert answer.status_code == 200, answer.text
            sent = s.mock.calls[-1]
            assert sent.json() == {**orjson.loads(body), "model": "small"}
            bare = body.replace(b"up/small", b"small")
            again = await s.http().post(f"/v1/{path}", content=bare, headers={"content-type": "application/json"})
            assert again.status_code == 200
            assert s.mock.calls[-1].body == bare
            direct = await s.http().post(
                f"{s.mock.url}/{path}", content=bare, headers={"content-type": "application/json"}
            )
            assert [*again.json()] == [*direct.json()]


async def test_a_form_goes_out_as_it_came_with_the_providers_name_of_the_model() -> None:
    async with running() as s:
        name, data, kind = wav(1)
        answer = await s.http().post(
            "/v1/audio/transcriptions",
            data={"model": "up/small", "prompt": "names: Ünal", "own[]": ["1", "2"]},
            files={"file": (name, data, kind)},
        )
        assert answer.status_code == 200, answer.text
        sent = s.mock.calls[-1]
        assert data in sent.body
        assert b'name="model"\r\n\r\nsmall\r\n' in sent.body
        assert b"up/small" not in sent.body
        assert "names: Ünal" in answer.json()["text"]
        bare = await s.http().post(
            "/v1/audio/transcriptions", data={"model": "small"}, files={"file": (name, data, kind)}
        )
        assert bare.status_code == 200
        assert s.mock.calls[-1].body == bare.request.read()


async def test_a_module_sees_the_texts_of_a_form_and_what_it_changes_goes_out() -> None:
    secret = "sk-proj-" + "a1B2c3D4e5F6g7H8i9J0" * 3
    async with running({"secretscan": {"action": "redact"}}) as s:
        name, data, kind = wav(1)
        answer = await s.http().post(
            "/v1/audio/transcriptions",
            data={"model": "up/small", "prompt": f"the key is {secret}"},
            files={"file": (name, data, kind)},
        )
        assert answer.status_code == 200, answer.text
        body = s.mock.calls[-1].body
        assert secret.encode() not in body
        assert data in body


@pytest.mark.parametrize("response_format", ["mp3", "wav", "pcm"])
async def test_speech_arrives_as_it_was_spoken(response_format: str) -> None:
    async with running(config=PRICES) as s:
        body = {"model": "up/tts", "input": "hello there", "voice": "alloy", "response_format": response_format}
        direct = await s.http().post(f"{s.mock.url}/audio/speech", json={**body, "model": "tts"})
        answer = await s.http().post("/v1/audio/speech", json=body)
        assert (answer.status_code, answer.content) == (200, direct.content)
        assert answer.headers["content-type"] == direct.headers["content-type"]
        trace = await trace_of(s, answer)
        assert (trace["operation"], trace["dialect_out"], trace["status"]) == ("audio.speech", "openai.audio", "ok")
        assert trace["costs"] == [{"what": "characters", "usd": 0.000165}]


async def test_speech_that_breaks_off_cuts_the_connection_and_is_recorded() -> None:
    async with running() as s:
        s.mock.script(drop(3))
        body = {"model": "up/small", "input": "hello there " * 20, "voice": "alloy"}
        client = s.http()
        with pytest.raises(httpx2.HTTPError):
            async with client.stream("POST", "/v1/audio/speech", json=body) as answer:
                assert answer.status_code == 200
                received = b"".join([block async for block in answer.aiter_bytes()])
                assert b"error" not in received
        (trace,) = await s.recent_traces(1)
        assert (trace["status"], trace["error"]["code"]) == ("error", "bad_upstream_response")
        assert (await client.get("/v1/models")).status_code == 200


async def test_who_hangs_up_while_speech_plays_is_recorded_as_cancelled() -> None:
    async with running() as s:
        s.mock.script(stall(2))
        body = {"model": "up/small", "input": "hello there " * 20, "voice": "alloy"}
        async with s.http().stream("POST", "/v1/audio/speech", json=body) as answer:
            async for _ in answer.aiter_bytes():
                break
        async with asyncio.timeout(5):
            while True:
                traces = await s.recent_traces(1)
                if traces:
                    break
                await asyncio.sleep(0.01)
            while not s.mock.calls[-1].hung_up:
                await asyncio.sleep(0.01)
        assert (traces[0]["status"], traces[0]["http_status"]) == ("cancelled", 499)


async def test_events_of_speech_pictures_and_transcriptions_pass_as_they_come() -> None:
    async with running() as s:
        calls: list[tuple[str, dict[str, Any]]] = [
            ("audio/speech", {"json": {"model": "small", "input": "hi you", "voice": "a", "stream_format": "sse"}}),
            (
                "images/generations",
                {"json": {"model": "gpt-image-1", "prompt": "a cat", "stream": True, "partial_images": 2}},
            ),
            ("audio/transcriptions", {"data": {"model": "small", "stream": "true"}, "files": {"file": wav(1)}}),
        ]
        for path, sent in calls:
            direct = await s.http().post(f"{s.mock.url}/{path}", **sent)
            answer = await s.http().post(f"/v1/{path}", headers={"x-stockyard-provider": "up"}, **sent)
            assert (answer.status_code, answer.content) == (200, direct.content), path
            assert answer.headers["content-type"].startswith("text/event-stream")
            trace = await trace_of(s, answer)
            assert (trace["stream"], trace["status"], trace["usage_source"]) == (True, "ok", "reported")
            assert trace["tokens_out"] > 0


async def test_a_stream_of_events_that_ends_early_is_an_error() -> None:
    async with running() as s:
        s.mock.script(drop(1))
        body = {"model": "up/small", "input": "hi you " * 300, "voice": "a", "stream_format": "sse"}
        answer = await s.http().post("/v1/audio/speech", json=body)
        last = orjson.loads(answer.content.strip().split(b"\n\n")[-1].removeprefix(b"data: "))
        assert last["error"]["code"] == "bad_upstream_response"
        assert (await trace_of(s, answer))["status"] == "error"


async def test_each_kind_costs_what_it_is_charged_by() -> None:
    async with running(config=PRICES) as s:
        vectors = await s.http().post("/v1/embeddings", json={"model": "up/vectors", "input": "one two three"})
        trace = await trace_of(s, vectors)
        assert (trace["tokens_in"], trace["costs"]) == (3, [{"what": "input", "usd": 0.003}])
        assert vectors.headers["x-stockyard-cost-usd"] == "0.003000000"
        pictures = await s.http().post("/v1/images/generations", json={"model": "up/dall-e", "prompt": "x", "n": 3})
        assert (await trace_of(s, pictures))["costs"] == [{"what": "image", "usd": 0.12}]
        by_token = await s.http().post("/v1/images/generations", json={"model": "up/gpt-image-1", "prompt": "a b"})
        assert (await trace_of(s, by_token))["costs"] == [
            {"what": "input", "usd": 0.00001},
            {"what": "image_output", "usd": 0.01088},
        ]
        heard = await s.http().post("/v1/audio/transcriptions", data={"model": "up/whisper"}, files={"file": wav(7)})
        assert (await trace_of(s, heard))["costs"] == [{"what": "audio", "usd": 0.0002}]  # the provider says 2 s
        subtitles = await s.http().post(
            "/v1/audio/transcriptions",
            data={"model": "up/whisper", "response_format": "srt"},
            files={"file": wav(30)},
        )
        trace = await trace_of(s, subtitles)
        assert (trace["costs"], trace["usage_source"]) == ([{"what": "audio", "usd": 0.003}], "estimated")
        ranked = await s.http().post("/v1/rerank", json={"model": "up/ranker", "query": "x", "documents": ["x"] * 150})
        assert (await trace_of(s, ranked))["cost_usd"] in (0.002, 0.004)


async def test_a_cost_that_nobody_can_know_is_null() -> None:
    async with running(config=PRICES) as s:
        unpriced = await s.http().post("/v1/embeddings", json={"model": "up/small", "input": "x"})
        assert "x-stockyard-cost-usd" not in unpriced.headers
        assert (await trace_of(s, unpriced))["cost_usd"] is None
        unmeasured = await s.http().post(
            "/v1/audio/transcriptions",
            data={"model": "up/whisper", "response_format": "text"},
            files={"file": ("talk.xyz", b"no recording that anybody knows", "audio/xyz")},
        )
        trace = await trace_of(s, unmeasured)
        assert (trace["cost_usd"], trace["costs"]) == (None, [])
        chat = await s.chat()
        assert (await s.trace(chat.headers["x-stockyard-trace-id"]))["cost_usd"] is None
        free = await s.http().post("/v1/embeddings", json={"model": "mock/embedding", "input": "x"})
        assert (await trace_of(s, free))["cost_usd"] == 0.0


async def test_a_refusal_of_the_provider_keeps_its_status() -> None:
    async with running({"retry": False}) as s:
        s.mock.script(status(400, "too long"))
        with pytest.raises(openai.BadRequestError):
            await s.sdk().embeddings.create(model="up/small", input="x")
        s.mock.script(status(429, "slow down"))
        with pytest.raises(openai.RateLimitError):
            await s.sdk().audio.speech.create(model="up/small", voice="alloy", input="x")


async def test_an_answer_that_is_none_is_said_to_be() -> None:
    async with running() as s:
        for path, body in (
            ("embeddings", {"input": "x"}),
            ("moderations", {"input": "x"}),
            ("images/generations", {"prompt": "x"}),
            ("rerank", {"query": "x", "documents": ["x"]}),
        ):
            for reply in (garbage(), Reply(body=b'{"object":"list"}')):
                s.mock.script(reply)
                answer = await s.http().post(f"/v1/{path}", json={"model": "up/small", **body})
                assert (answer.status_code, answer.json()["error"]["code"]) == (502, "bad_upstream_response")


async def test_a_provider_without_the_endpoint_is_501() -> None:
    async with running() as s:
        for missing in (
            Reply(status=404, body=b"404 page not found", content_type="text/plain"),
            Reply(status=404, body=b'{"detail":"Not Found"}'),
            Reply(status=405, body=b"{}"),
            Reply(
                status=404, body=b'{"error":{"message":"Invalid URL (POST /v1/rerank)","type":"invalid_request_error"}}'
            ),
        ):
            s.mock.script(missing)
            answer = await s.http().post("/v1/rerank", json={"model": "up/small", "query": "x", "documents": ["x"]})
            assert (answer.status_code, answer.json()["error"]["code"]) == (501, "not_supported"), answer.text
        s.mock.script(
            Reply(status=404, body=b'{"error":{"message":"The model `x` does not exist","code":"model_not_found"}}')
        )
        answer = await s.http().post("/v1/rerank", json={"model": "up/small", "query": "x", "documents": ["x"]})
        assert answer.status_code == 404


async def test_the_stored_request_of_a_form_is_its_fields_not_its_file() -> None:
    async with running({"llmtap": {"capture_bodies": "full"}}) as s:
        name, data, kind = wav(1)
        answer = await s.http().post(
            "/v1/audio/transcriptions", data={"model": "up/small", "prompt": "p"}, files={"file": (name, data, kind)}
        )
        trace = await trace_of(s, answer)
        assert trace["request_body"]["prompt"] == "p"
        assert trace["request_body"]["file"] == {"filename": "talk.wav", "content_type": kind, "size_bytes": len(data)}


async def test_a_form_over_its_limit_is_refused_and_a_large_one_under_it_passes() -> None:
    async with running(config="[limits]\nbody_bytes = 2048\nmultipart_bytes = 300000\n") as s:
        large = await s.http().post("/v1/audio/transcriptions", data={"model": "up/small"}, files={"file": wav(10)})
        assert large.status_code == 200
        over = await s.http().post("/v1/audio/transcriptions", data={"model": "up/small"}, files={"file": wav(30)})
        assert (over.status_code, over.json()["error"]["code"]) == (413, "body_too_large")


async def test_a_header_names_the_model_of_a_form() -> None:
    async with running() as s:
        answer = await s.http().post(
            "/v1/audio/transcriptions",
            headers={"x-stockyard-model": "up/large"},
            data={"response_format": "json"},
            files={"file": wav(1)},
        )
        assert answer.status_code == 200, answer.text
        assert b'name="model"\r\n\r\nlarge\r\n' in s.mock.calls[-1].body


async def test_a_form_is_sent_to_the_next_target_when_the_first_fails() -> None:
    second = '[providers.second]\nbase_url = "{url}"\napi_key = "k"\nmodels = ["other"]\n'
    async with running(
        {"retry": False, "fallbackrouter": True}, providers=lambda mock: second.replace("{url}", mock.url)
    ) as s:
        s.mock.script(status(503))
        name, data, kind = wav(1)
        answer = await s.http().post(
            "/v1/audio/transcriptions",
            headers={"x-stockyard-fallback": "second/other"},
            data={"model": "up/small"},
            files={"file": (name, data, kind)},
        )
        assert (answer.status_code, answer.headers["x-stockyard-model"]) == (200, "other"), answer.text
        first, again = s.mock.calls[-2], s.mock.calls[-1]
        assert b'name="model"\r\n\r\nsmall\r\n' in first.body
        assert b'name="model"\r\n\r\nother\r\n' in again.body
        assert data in again.body
        trace = await trace_of(s, answer)
        assert [attempt["status"] for attempt in trace["attempts"]] == [503, 200]


async def test_a_provider_whose_shim_is_for_chat_is_asked_at_its_openai_compatible_part() -> None:
    groq = '[providers.groq]\ntype = "groq"\nbase_url = "{url}"\napi_key = "k"\n'
    async with running(providers=lambda mock: groq.replace("{url}", mock.at("groq"))) as s:
        heard = await s.http().post(
            "/v1/audio/transcriptions", data={"model": "groq/whisper-large-v3"}, files={"file": wav(60)}
        )
        assert heard.status_code == 200, heard.text
        trace = await trace_of(s, heard)
        assert (trace["provider"], trace["dialect_out"]) == ("groq", "openai.audio")
        refused = await s.http().post("/v1/moderations", json={"model": "groq/x", "input": "x"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (501, "not_supported")
        assert (await trace_of(s, refused))["attempts"] == []  # nobody was asked


async def test_what_is_ranked_and_what_was_said_is_read_by_modules() -> None:
    secret = "sk-proj-" + "a1B2c3D4e5F6g7H8i9J0" * 3
    async with running({"secretscan": {"action": "redact"}}) as s:
        ranked = await s.http().post(
            "/v1/rerank", json={"model": "up/small", "query": "x", "documents": [f"key {secret}", {"text": secret}]}
        )
        assert ranked.status_code == 200, ranked.text
        assert secret.encode() not in s.mock.calls[-1].body
        for response_format in ("json", "text", "verbose_json"):
            s.mock.script(Reply(text=f"the key is {secret}"))
            heard = await s.http().post(
                "/v1/audio/transcriptions",
                data={"model": "up/small", "response_format": response_format},
                files={"file": wav(1)},
            )
            assert heard.status_code == 200
            assert secret not in heard.text
            assert "the key is" in heard.text


async def test_a_model_without_a_price_costs_what_its_provider_says() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "cost": 0.00125, "is_byok": False, "x": 1}
    async with running() as s:
        for stream in (False, True):
            s.mock.script(Reply(text="hi", usage=usage))
            answer = await s.chat("hi", stream=stream)
            trace = await trace_of(s, answer)
            assert (trace["cost_usd"], trace["costs"]) == (0.00125, [{"what": "reported", "usd": 0.00125}])


async def test_voyages_form_of_rerank_is_written_and_read() -> None:
    voyage = '[providers.voyage]\nbase_url = "{url}"\napi_key = "k"\n'
    rows = [
        {"index": 1, "relevance_score": 0.9, "document": "b"},
        {"index": 0, "relevance_score": 0.1, "document": "a"},
    ]
    said = {"object": "list", "data": rows, "model": "rerank-2.5", "usage": {"total_tokens": 12}}
    async with running({"retry": False}, providers=lambda mock: voyage.replace("{url}", mock.url)) as s:
        s.mock.script(Reply(body=orjson.dumps(said)))
        body = {"model": "voyage/rerank-2.5", "query": "x", "documents": ["a", {"text": "b"}], "top_n": 2}
        answer = await s.http().post("/v1/rerank", json={**body, "return_documents": True})
        sent = s.mock.calls[-1].json()
        assert (sent["documents"], sent["top_k"], "top_n" in sent) == (["a", "b"], 2, False)
        assert answer.status_code == 200, answer.text
        assert answer.json()["results"] == [
            {"index": 1, "relevance_score": 0.9, "document": {"text": "b"}},
            {"index": 0, "relevance_score": 0.1, "document": {"text": "a"}},
        ]
        assert "data" not in answer.json()
        trace = await trace_of(s, answer)
        assert (trace["tokens_in"], trace["costs"]) == (12, [{"what": "input", "usd": 0.0000006}])


async def test_a_fee_that_only_the_provider_knows_is_taken_as_it_says() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "cost": {"total_cost": 0.0123}}
    own = '[providers.perplexity]\ntype = "openai"\nbase_url = "{url}"\napi_key = "k"\nmodels = ["sonar"]\n'
    async with running(providers=lambda mock: own.replace("{url}", mock.url)) as s:
        s.mock.script(Reply(text="hi", usage=usage))
        answer = await s.http().post("/v1/chat/completions", json={**s.body(), "model": "perplexity/sonar"})
        assert (await trace_of(s, answer))["costs"] == [{"what": "reported", "usd": 0.0123}]
        s.mock.script(Reply(text="hi", usage={"prompt_tokens": 1000, "completion_tokens": 1, "total_tokens": 1001}))
        answer = await s.http().post("/v1/chat/completions", json={**s.body(), "model": "perplexity/sonar"})
        assert (await trace_of(s, answer))["costs"] == [
            {"what": "input", "usd": 0.001},
            {"what": "output", "usd": 0.000001},
            {"what": "request", "usd": 0.005},
        ]
