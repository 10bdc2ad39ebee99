"""secretscan as callers, providers and the disk see it."""

from pathlib import Path

import openai
import pytest

from tests.mock_replies import chunks, text
from tests.mock_upstream import until
from tests.modules.conftest import UPSTREAM_KEY, running
from tests.modules.test_secretscan import AWS, GITHUB


def on_disk(s: object) -> bytes:
    """Every byte in the instance's data folder."""
    folder: Path = s.instance.core.database.path.parent  # type: ignore[attr-defined]
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


async def test_redact_keeps_secrets_from_the_provider_and_from_the_disk() -> None:
    async with running({"secretscan": {"action": "redact"}}) as s:
        await s.chat(f"use {GITHUB} and {AWS}")
        await s.settled()
        (call,) = s.mock.calls
        assert call.json()["messages"][0]["content"] == "use [SECRET:github_token] and [SECRET:aws_access_key]"
        stored = on_disk(s)
        assert GITHUB.encode() not in stored
        assert AWS.encode() not in stored


async def test_by_default_secrets_are_noticed_passed_on_and_not_stored(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as s:
        answer = await s.chat(f"use {GITHUB}")
        assert GITHUB in s.mock.calls[0].json()["messages"][0]["content"]
        trace_id = answer.headers["x-stockyard-trace-id"]
        found = await s.trail(trace_id, "secretscan")
        assert {(detail["detector"], detail["direction"], detail["action"]) for _, detail in found} >= {
            ("github_token", "in", "flag")
        }
        trace = await s.trace(trace_id)
        assert "[SECRET:github_token]" in str(trace["request_body"])
        assert trace["safety_count"] >= 1
        assert GITHUB.encode() not in on_disk(s)
        assert GITHUB not in caplog.text


async def test_a_key_streamed_in_three_pieces_is_seen_as_a_marker_only() -> None:
    async with running({"secretscan": {"action": "redact"}}) as s:
        s.mock.script(chunks(["Sure: ", GITHUB[:9], GITHUB[9:25], GITHUB[25:], " is it."]))
        stream = await s.sdk().chat.completions.create(
            model=s.model, messages=[{"role": "user", "content": "hi"}], stream=True
        )
        said = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
        assert said == "Sure: [SECRET:github_token] is it."
        await s.settled()
        assert GITHUB.encode() not in on_disk(s)


async def test_a_flagged_stream_goes_out_as_it_is_and_is_stored_redacted() -> None:
    async with running() as s:
        s.mock.script(chunks(["Sure: ", GITHUB[:9], GITHUB[9:], " ok"]))
        stream = await s.sdk().chat.completions.create(
            model=s.model, messages=[{"role": "user", "content": "hi"}], stream=True
        )
        said = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
        assert said == f"Sure: {GITHUB} ok"
        await s.settled()
        assert GITHUB.encode() not in on_disk(s)


async def test_block_refuses_before_the_provider_is_called_and_ends_streams() -> None:
    async with running({"secretscan": {"action": "block"}}) as s:
        with pytest.raises(openai.BadRequestError) as caught:
            await s.sdk().chat.completions.create(model=s.model, messages=[{"role": "user", "content": GITHUB}])
        assert caught.value.code == "secret_blocked"
        assert caught.value.param == "messages[0].content"
        assert caught.value.response.headers["x-stockyard-module"] == "secretscan"
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert not s.mock.calls
        s.mock.script(chunks(["now ", GITHUB, " then"]))
        said = ""
        with pytest.raises(openai.APIError):
            stream = await s.sdk().chat.completions.create(
                model=s.model, messages=[{"role": "user", "content": "hi"}], stream=True
            )
            async for chunk in stream:
                said += chunk.choices[0].delta.content or ""
        assert said == "now "
        await s.settled()
        assert GITHUB.encode() not in on_disk(s)


async def test_the_instances_own_provider_key_does_not_leave_in_an_answer() -> None:
    async with running() as s:
        s.mock.script(text(f"I was called with {UPSTREAM_KEY}."), chunks(["I have upstream", UPSTREAM_KEY[8:], "."]))
        answer = await s.chat()
        assert answer.json()["choices"][0]["message"]["content"] == "I was called with [SECRET:provider_key]."
        s.mock.script(chunks(["I have ", UPSTREAM_KEY[:11], UPSTREAM_KEY[11:], "."]))
        stream = await s.sdk().chat.completions.create(
            model=s.model, messages=[{"role": "user", "content": "hi"}], stream=True
        )
        said = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
        assert UPSTREAM_KEY not in said
        await s.settled()
        assert UPSTREAM_KEY.encode() not in on_disk(s)


async def test_nothing_of_a_call_that_was_refused_before_it_was_scanned_is_stored() -> None:
    limits = [{"by": "key", "requests": 1, "per": "hour"}]
    async with running({"rateshield": {"limits": limits}}) as s:
        await s.chat("first")
        refused = await s.chat(f"my key is {AWS}")
        assert refused.status_code == 429
        await s.settled()
        assert AWS.encode() not in on_disk(s)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("action", ["redact", "block"])
async def test_requests_are_guarded_also_where_answers_are_not_looked_at(action: str, stream: bool) -> None:
    async with running({"secretscan": {"action": action, "scan_output": False}}) as s:
        answer = await s.chat(f"use {GITHUB}", stream=stream)
        if action == "block":
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "secret_blocked")
            assert not s.mock.calls
            return
        assert s.mock.calls[0].json()["messages"][0]["content"] == "use [SECRET:github_token]"
        s.mock.script(text(f"it is {GITHUB}"))
        assert GITHUB in (await s.chat("hi", stream=stream)).text


async def test_a_webhook_is_told_of_a_call_with_a_secret_and_never_of_its_value() -> None:
    async with running() as s:
        await s.configure({"secretscan": {"webhook": f"{s.mock.url}/told"}})
        answer = await s.chat(f"use {GITHUB}")
        await until(lambda: any(call.path.endswith("/told") for call in s.mock.calls))
        told = next(call for call in s.mock.calls if call.path.endswith("/told"))
        notice = told.json()
        assert (notice["event"], notice["detectors"], notice["direction"]) == ("secret.found", ["github_token"], "in")
        assert notice["trace_id"] == answer.headers["x-stockyard-trace-id"]
        assert GITHUB.encode() not in told.body
