"""streamsnap: the pace of streams, how they ended, and the recording that plays them again."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance.chute.modules.other import streamsnap as streamsnap_module
from instance.chute.modules.other.stream_capture import StreamCapture
from instance.chute.modules.other.stream_pace import NS_PER_MS, StreamPace
from instance.core.clock import Clock
from tests.mock_replies import Reply, chunks, stall, status, text, tool
from tests.mock_upstream import until
from tests.modules.conftest import Running, running

WORDS = [f"word{n} " for n in range(50)]
SECRET = (
    "sk-ant-api03-" + "Qm9yZ2VzLWxpYnJhcnktb2YtYmFiZWwtc2VjcmV0LTEyMzQ1Njc4OTAtYWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4" + "AA"
)


class OneGap(Clock):
    """The mock's clock: every wait is short but for one."""

    def __init__(self, at: int, gap_s: float) -> None:
        self.count = 0
        self.at = at
        self.gap_s = gap_s

    async def sleep(self, seconds: float) -> None:
        self.count += 1
        await super().sleep(self.gap_s if self.count == self.at else seconds)


class TwoDaysOn(Clock):
    wall_ns = staticmethod(lambda: Clock.wall_ns() + 2 * 86_400 * 10**9)


async def streamed(s: Running, content: str = "hi", **more: Any) -> str:
    stream = await s.sdk().chat.completions.create(**s.body(content, **more), stream=True)
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


async def figures(s: Running) -> dict[str, Any]:
    (trace,) = await s.recent_traces(1)
    found: dict[str, Any] = trace["measures"]["stream"]
    return found


def test_fifty_words_at_twenty_milliseconds_with_one_gap_of_three_seconds() -> None:
    pace = StreamPace(2000 * NS_PER_MS)
    now = 100 * NS_PER_MS
    pace.event(now, content=False)
    for number in range(50):
        now += (3000 if number == 25 else 20) * NS_PER_MS
        pace.event(now, content=True)
    made = pace.figures(0)
    assert (made["ttfb_ms"], made["ttft_ms"], made["stalls"], made["chunks"]) == (100, 120, 1, 51)
    assert made["gap_max_ms"] == 3000
    assert 19.5 <= made["gap_p50_ms"] <= 20.5
    assert pace.tokens_per_s(50) == pytest.approx(50, rel=0.03)


def test_a_stream_of_one_event_has_no_pace() -> None:
    pace = StreamPace(NS_PER_MS)
    pace.event(5, content=True)
    assert pace.tokens_per_s(10) is None
    assert "gap_p50_ms" not in pace.figures(0)


@given(st.lists(st.text(max_size=60), max_size=100), st.integers(1, 4000), st.integers(1, 40))
def test_events_are_kept_until_one_does_not_fit(texts: list[str], max_bytes: int, at_once: int) -> None:
    events = [[{"index": 0, "delta": {"content": text}}] for text in texts]
    capture = StreamCapture(max_bytes)
    timed = list(enumerate(events))
    for start in range(0, len(timed), at_once):
        capture.add(timed[start : start + at_once])
    fitting, size = 0, 0
    for choices in events:
        size += len(orjson.dumps(choices))
        if size > max_bytes:
            break
        fitting += 1
    assert capture.events() == list(enumerate(events[:fitting]))
    assert capture.truncated is (fitting < len(events))
    assert capture.count == fitting
    assert capture.size_bytes == sum(len(orjson.dumps(choices)) for choices in events[:fitting])


async def test_a_stream_with_a_gap_is_measured_and_its_text_stays_as_it_was() -> None:
    async with running({"streamsnap": {"stall_ms": 400}}) as s:
        s.mock.clock = OneGap(25, 0.8)
        s.mock.script(chunks(WORDS, piece_delay_s=0.002))
        assert await streamed(s) == "".join(WORDS)
        made = await figures(s)
        assert (made["stalls"], made["ended"], made["complete"]) == (1, "done", True)
        assert made["gap_max_ms"] >= 790
        assert made["chunks"] >= 50
        assert 0 < made["ttft_ms"] < 400
        # without the gap left out it would be at most 50 / 0.8
        assert made["tokens_per_s"] > 65
        (trace,) = await s.recent_traces(1)
        assert made["bytes"] == trace["bytes_out"] > 0
        assert await s.trail(trace["id"], "streamsnap") == []


async def test_a_client_that_leaves_early_is_told_from_a_stream_that_broke() -> None:
    async with running({"streamsnap": {}}) as s:
        s.mock.script(chunks(WORDS, piece_delay_s=0.05))
        stream = await s.sdk().chat.completions.create(**s.body(), stream=True)
        async for _ in stream:
            break
        await stream.close()
        await until(lambda: s.mock.calls[0].hung_up)
        await until(lambda: s.instance.chute.in_flight == 0)
        made = await figures(s)
        assert (made["ended"], made["complete"]) == ("client_gone", False)


@pytest.mark.parametrize(
    ("reply", "ended", "complete"),
    [
        (Reply(text="one two three four five six", drop_after=3), "upstream_cut", False),
        (text("one two three", finish="length"), "length", True),
    ],
)
async def test_how_a_stream_ended(reply: Reply, ended: str, complete: bool) -> None:
    async with running({"streamsnap": {}}) as s:
        s.mock.script(reply)
        answer = await s.http().post("/v1/chat/completions", json=s.body(stream=True))
        assert answer.status_code == 200
        made = await figures(s)
        assert (made["ended"], made["complete"]) == (ended, complete)


async def test_a_stream_that_a_module_ends_was_killed_and_its_silence_was_a_stall() -> None:
    async with running({"streamsnap": {"stall_ms": 300}, "idlekill": {"stall_s": 1}}) as s:
        s.mock.script(stall(3, "one two three four five"))
        answer = await s.http().post("/v1/chat/completions", json=s.body(stream=True))
        assert "killed_stalled" in answer.text
        made = await figures(s)
        assert (made["ended"], made["stalls"], made["complete"]) == ("killed", 1, False)


async def test_a_plain_answer_has_a_record_of_one_chunk_unless_that_is_off() -> None:
    async with running({"streamsnap": {}}) as s:
        answer = await s.chat()
        made = await figures(s)
        assert made == {"chunks": 1, "bytes": len(answer.content), "ended": "done", "complete": True}
        await s.configure({"streamsnap": {"plain_too": False}})
        await s.chat()
        assert "stream" not in (await s.recent_traces(1))[0]["measures"]


async def test_a_call_that_never_began_to_stream_has_no_figures() -> None:
    async with running({"streamsnap": {}, "retry": False}) as s:
        s.mock.script(status(500))
        await s.http().post("/v1/chat/completions", json=s.body(stream=True))
        assert "stream" not in (await s.recent_traces(1))[0]["measures"]


async def test_no_share_of_streams_is_looked_at_when_it_is_zero() -> None:
    async with running({"streamsnap": {"sample_pct": 0, "capture": True}}) as s:
        await streamed(s)
        assert "stream" not in (await s.recent_traces(1))[0]["measures"]


async def recorded(s: Running, trace_id: str, **query: Any) -> Any:
    await s.module("streamsnap").tick()
    return await s.http(s.admin_key).get(f"/api/observe/traces/{trace_id}/stream", params=query)


async def test_a_recorded_stream_plays_the_same_text_again() -> None:
    async with running({"streamsnap": {"capture": True}}) as s:
        s.mock.script(chunks(WORDS, piece_delay_s=0.002))
        said = await streamed(s)
        (trace,) = await s.recent_traces(1)
        assert trace["measures"]["stream"]["captured"] is True
        shown = (await recorded(s, trace["id"])).json()
        times = [event["at_ms"] for event in shown["events"]]
        assert times == sorted(times) and times[-1] - times[0] >= 50 * 2
        assert (shown["truncated"], shown["complete"]) == (False, True)
        for speed in (0, 50):
            played = await recorded(s, trace["id"], format="sse", speed=speed)
            assert played.headers["content-type"].startswith("text/event-stream")
            assert text_of(played.text) == said == "".join(WORDS)
            assert played.text.endswith("data: [DONE]\n\n")


def text_of(events: str) -> str:
    made = [orjson.loads(line[6:]) for line in events.splitlines() if line.startswith("data: {")]
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in made)


async def test_tool_calls_are_recorded_with_their_names() -> None:
    async with running({"streamsnap": {"capture": True}}) as s:
        s.mock.script(tool("weather", {"city": "Paris"}))
        await streamed(s)
        (trace,) = await s.recent_traces(1)
        played = (await recorded(s, trace["id"], format="sse")).text
        assert '"name":"weather"' in played and "Paris" in played


async def test_a_call_of_a_tool_is_content() -> None:
    async with running({"streamsnap": {}}) as s:
        s.mock.script(tool("weather", {"city": "Paris"}))
        await streamed(s)
        assert "ttft_ms" in await figures(s)


async def test_what_is_stored_holds_no_secret() -> None:
    async with running({"streamsnap": {"capture": True}, "secretscan": {}}) as s:
        s.mock.script(chunks(["The key is ", SECRET[:40], SECRET[40:], " and more words follow it."]))
        said = await streamed(s)
        assert SECRET in said
        (trace,) = await s.recent_traces(1)
        played = text_of((await recorded(s, trace["id"], format="sse")).text)
        assert SECRET[20:60] not in played
        assert played.startswith("The key is [SECRET:") and played.endswith(" and more words follow it.")


async def test_a_recording_is_bounded_and_the_figures_are_not() -> None:
    async with running({"streamsnap": {"capture": True, "max_kb": 1}}) as s:
        s.mock.script(chunks(WORDS))
        await streamed(s)
        (trace,) = await s.recent_traces(1)
        shown = (await recorded(s, trace["id"])).json()
        assert shown["truncated"] is True
        assert 0 < len(shown["events"]) < 50 <= trace["measures"]["stream"]["chunks"]
        assert "[DONE]" not in (await recorded(s, trace["id"], format="sse")).text


async def test_recordings_that_cannot_be_stored_in_time_are_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streamsnap_module, "WAITING_MAX", 0)
    async with running({"streamsnap": {"capture": True}}) as s:
        await streamed(s)
        assert s.module("streamsnap").report()["dropped"] == 1
        assert "captured" not in (await figures(s))


async def test_recordings_go_after_their_days() -> None:
    async with running({"streamsnap": {"capture": True, "retention_days": 1}}) as s:
        await streamed(s)
        (trace,) = await s.recent_traces(1)
        assert (await recorded(s, trace["id"])).status_code == 200
        module = s.module("streamsnap")
        s.instance.core.clock, module._cleaned_ns = TwoDaysOn(), 0
        assert (await recorded(s, trace["id"])).status_code == 404


async def test_a_recording_needs_the_right_to_read_contents() -> None:
    async with running({"streamsnap": {"capture": True}}) as s:
        await streamed(s)
        (trace,) = await s.recent_traces(1)
        made = await s.http(s.admin_key).post(
            "/api/auth/me/keys", json={"name": "reader", "kind": "app", "scopes": ["observe:read"]}
        )
        answer = await s.http(made.json()["key"]).get(f"/api/observe/traces/{trace['id']}/stream")
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "scope_missing")


async def test_settings_that_cannot_be_are_refused() -> None:
    async with running({"streamsnap": {}}) as s:
        answer = await s.http(s.admin_key).put(
            "/api/proxy/modules/streamsnap", json={"enabled": True, "config": {"stall_ms": 0}}
        )
        assert (answer.status_code, answer.json()["error"]["param"]) == (422, "config.stall_ms")
