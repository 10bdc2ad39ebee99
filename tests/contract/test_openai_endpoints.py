"""The official openai SDK against the endpoints beside chat, on the built-in model: nothing is needed to try them."""

import io
import struct
from base64 import b64decode

import openai
import pytest

from tests.modules.conftest import Running, pytest_asyncio_loop_factories, running

__all__ = ["pytest_asyncio_loop_factories"]

SECOND = 48_000
"""Bytes of a second of sound at 24,000 samples of two bytes."""


def recording(seconds: int = 2) -> tuple[str, bytes, str]:
    size = seconds * SECOND
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 24_000, SECOND, 2, 16)
    head = struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + form + struct.pack("<4sI", b"data", size)
    return "talk.wav", head + bytes(size), "audio/wav"


async def last_trace(s: Running) -> dict[str, object]:
    return (await s.recent_traces(1))[0]


async def test_embeddings_of_a_text_a_list_and_tokens() -> None:
    async with running() as s:
        for given, count in (
            ("hello there", 1),
            (["hello there", "hello", "world"], 3),
            ([1, 2, 3], 1),
            ([[1], [2, 3]], 2),
        ):
            answer = await s.sdk().embeddings.create(model="mock/embedding", input=given, dimensions=64)
            assert [row.index for row in answer.data] == list(range(count))
            assert all(len(row.embedding) == 64 for row in answer.data)
            assert answer.usage.prompt_tokens > 0
        trace = await last_trace(s)
        assert (trace["operation"], trace["dialect_in"], trace["status"]) == ("embedding", "openai.embeddings", "ok")
        assert (trace["provider"], trace["model"], trace["tokens_in"], trace["usage_source"]) == (
            "mock",
            "embedding",
            3,
            "reported",
        )


async def test_embeddings_in_base64_are_the_same_numbers() -> None:
    async with running() as s:
        plain = await s.sdk().embeddings.create(model="mock/embedding", input="hello", encoding_format="float")
        coded = await s.sdk().embeddings.create(
            model="mock/embedding", input="hello"
        )  # the SDK asks for base64 by itself
        assert coded.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-6)
        near = await s.sdk().embeddings.create(model="mock/embedding", input=["hello world", "hello you", "xyz"])
        one, two, three = (row.embedding for row in near.data)
        assert sum(a * b for a, b in zip(one, two, strict=True)) > sum(a * b for a, b in zip(one, three, strict=True))


async def test_moderations_flag_what_is_harmful() -> None:
    async with running() as s:
        answer = await s.sdk().moderations.create(model="mock/moderation", input=["I will kill you", "a nice day"])
        assert [result.flagged for result in answer.results] == [True, False]
        assert answer.results[0].categories.violence
        assert (await last_trace(s))["operation"] == "moderation"


async def test_a_moderation_without_a_provider_for_it_says_what_to_do() -> None:
    async with running() as s:
        with pytest.raises(openai.APIStatusError) as caught:
            await s.sdk().moderations.create(model="openai/omni-moderation-latest", input="hi")
        assert (caught.value.status_code, caught.value.code) == (501, "not_supported")
        assert "OPENAI_API_KEY" in caught.value.message
        assert caught.value.response.headers["x-should-retry"] == "false"


async def test_images_are_made_changed_and_varied() -> None:
    async with running() as s:
        made = await s.sdk().images.generate(model="mock/image", prompt="a cat", n=2)
        assert made.data is not None
        assert [b64decode(image.b64_json or "")[1:4] for image in made.data] == [b"PNG", b"PNG"]
        by_url = await s.sdk().images.generate(model="mock/image", prompt="a cat", response_format="url")
        assert by_url.data is not None
        assert (by_url.data[0].url or "").startswith("data:image/png;base64,")
        png = b64decode(made.data[0].b64_json or "")
        edited = await s.sdk().images.edit(model="mock/image", image=("cat.png", png, "image/png"), prompt="a dog", n=2)
        assert edited.data is not None
        assert len(edited.data) == 2
        several = await s.sdk().images.edit(
            model="mock/image", image=[("a.png", png, "image/png"), ("b.png", png, "image/png")], prompt="both"
        )
        assert several.data is not None
        varied = await s.sdk().images.create_variation(model="mock/image", image=("cat.png", png, "image/png"))
        assert varied.data is not None
        trace = await last_trace(s)
        assert (trace["operation"], trace["dialect_in"]) == ("image", "openai.images")


async def test_speech_is_a_recording_that_can_be_written_down_again() -> None:
    async with running() as s:
        async with s.sdk().audio.speech.with_streaming_response.create(
            model="mock/speech", voice="alloy", input="one two three four five", response_format="wav"
        ) as answer:
            assert answer.headers["content-type"] == "audio/wav"
            blocks = [block async for block in answer.iter_bytes()]
        spoken = b"".join(blocks)
        assert spoken[:4] == b"RIFF"
        trace = await last_trace(s)
        assert (trace["operation"], trace["status"], trace["dialect_in"]) == ("audio.speech", "ok", "openai.audio")
        assert trace["bytes_out"] == len(spoken)
        written = await s.sdk().audio.transcriptions.create(
            model="mock/transcription", file=("a.wav", spoken, "audio/wav")
        )
        assert written.text == f"transcript of a.wav, {len(spoken)} bytes"


async def test_what_openai_streams_as_events_the_built_in_model_does_too() -> None:
    async with running() as s:
        pictures = await s.sdk().images.generate(model="mock/image", prompt="a cat", stream=True, partial_images=2)
        assert [event.type async for event in pictures] == ["image_generation.partial_image"] * 2 + [
            "image_generation.completed"
        ]
        heard = await s.sdk().audio.transcriptions.create(model="mock/transcription", file=recording(), stream=True)
        events = [event async for event in heard]
        assert events[-1].type == "transcript.text.done"
        assert "".join(event.delta for event in events if event.type == "transcript.text.delta") == events[-1].text
        async with s.sdk().audio.speech.with_streaming_response.create(
            model="mock/speech", voice="alloy", input="one two", stream_format="sse"
        ) as answer:
            lines = [line async for line in answer.iter_lines() if line.startswith("data: ")]
        assert '"speech.audio.done"' in lines[-1]
        trace = await last_trace(s)
        assert (trace["stream"], trace["status"], trace["usage_source"]) == (True, "ok", "reported")


async def test_a_transcription_comes_in_the_asked_format() -> None:
    async with running() as s:
        audio = s.sdk().audio
        plain = await audio.transcriptions.create(model="mock/transcription", file=recording(), response_format="text")
        assert plain == f"transcript of talk.wav, {2 * SECOND + 44} bytes\n"
        subtitles = await audio.transcriptions.create(
            model="mock/transcription", file=recording(), response_format="srt"
        )
        assert str(subtitles).startswith("1\n00:00:00,000 --> 00:00:02,000\n")
        web = await audio.transcriptions.create(model="mock/transcription", file=recording(), response_format="vtt")
        assert str(web).startswith("WEBVTT\n")
        verbose = await audio.transcriptions.create(
            model="mock/transcription",
            file=recording(),
            response_format="verbose_json",
            timestamp_granularities=["segment"],
        )
        assert verbose.duration == 2.0
        assert verbose.segments is not None
        english = await audio.translations.create(model="mock/transcription", file=recording())
        assert english.text.startswith("translation of talk.wav")
        trace = await last_trace(s)
        assert (trace["operation"], trace["usage_source"]) == ("audio.translation", "reported")


async def test_a_form_keeps_what_is_no_business_of_ours() -> None:
    async with running() as s:
        client = s.http()
        answer = await client.post(
            "/v1/audio/transcriptions",
            data={"model": "mock/transcription", "response_format": "json", "own_field": "1"},
            files={"file": ('ü "quoted".wav', io.BytesIO(b"x" * 10), "audio/wav")},
        )
        assert answer.status_code == 200
        assert answer.json()["text"].endswith("10 bytes")


async def test_documents_are_ranked() -> None:
    async with running() as s:
        body = {
            "model": "mock/rerank",
            "query": "red apple",
            "documents": ["a green pear", {"text": "the red apple"}, "an apple"],
            "top_n": 2,
            "return_documents": True,
        }
        answer = (await s.http().post("/v1/rerank", json=body)).json()
        assert [row["index"] for row in answer["results"]] == [1, 2]
        assert answer["results"][0]["document"] == {"text": "the red apple"}
        trace = await last_trace(s)
        assert (trace["operation"], trace["dialect_in"], trace["cost_usd"]) == ("rerank", "cohere.rerank", 0.0)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("embeddings", {"model": "mock/e"}, "input"),
        ("embeddings", {"model": "mock/e", "input": []}, "input"),
        ("embeddings", {"model": "mock/e", "input": ["x"] * 2049}, "input"),
        ("embeddings", {"model": "mock/e", "input": ["x", [1]]}, "input[1]"),
        ("embeddings", {"model": "mock/e", "input": "x", "dimensions": 0}, "dimensions"),
        ("embeddings", {"model": "mock/e", "input": "x", "encoding_format": "hex"}, "encoding_format"),
        ("embeddings", {"input": "x"}, "model"),
        ("moderations", {"model": "mock/m", "input": 5}, "input"),
        ("images/generations", {"model": "mock/i"}, "prompt"),
        ("images/generations", {"model": "mock/i", "prompt": "x", "n": 99}, "n"),
        ("audio/speech", {"model": "mock/s", "voice": "v"}, "input"),
        ("audio/speech", {"model": "mock/s", "voice": "v", "input": "x" * 4097}, "input"),
        ("audio/speech", {"model": "mock/s", "input": "x"}, "voice"),
        ("rerank", {"model": "mock/r", "query": "x", "documents": []}, "documents"),
        ("rerank", {"model": "mock/r", "query": "x", "documents": ["x"] * 1001}, "documents"),
        ("rerank", {"model": "mock/r", "query": "x", "documents": ["x", 5]}, "documents[1]"),
        ("rerank", {"model": "mock/r", "query": "x", "documents": ["x"], "top_n": 0}, "top_n"),
    ],
)
async def test_what_no_provider_could_take_is_refused_with_the_field(
    path: str, body: dict[str, object], param: str
) -> None:
    async with running() as s:
        answer = await s.http().post(f"/v1/{path}", json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_a_body_that_is_no_form_is_refused() -> None:
    async with running() as s:
        client = s.http()
        json = await client.post("/v1/audio/transcriptions", json={"model": "mock/t"})
        assert (json.status_code, json.json()["error"]["code"]) == (415, "unsupported_media_type")
        broken = await client.post(
            "/v1/audio/transcriptions", content=b"nothing", headers={"content-type": "multipart/form-data; boundary=x"}
        )
        assert broken.status_code == 400
        without = await client.post("/v1/audio/transcriptions", data={"model": "mock/t"}, files={"other": b"x"})
        assert (without.status_code, without.json()["error"]["param"]) == (400, "file")


@pytest.mark.parametrize(
    ("path", "instead"),
    [
        ("/v1/batches", "/api/forge/batch"),
        ("/v1/files/file-1", "parts of a message"),
        ("/v1/assistants", "/v1/responses"),
        ("/v1/realtime", "/v1/audio"),
        ("/v1/fine_tuning/jobs", "provider"),
    ],
)
async def test_a_path_that_is_not_served_names_what_is(path: str, instead: str) -> None:
    async with running() as s:
        answer = await s.http().post(path, json={})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (501, "not_supported")
        assert instead in error["message"]


async def test_a_path_that_no_api_has_is_not_found() -> None:
    async with running() as s:
        assert (await s.http().post("/v1/filesystem", json={})).status_code == 404
