import asyncio
from typing import Any

import openai
import orjson
import pytest

from instance.chute.modules.cost.idlekill import IdleKill
from instance.chute.modules.cost.runaway import Runaway
from instance.core.clock import FakeClock
from instance.core.errors import StockyardError
from tests.mock_replies import Reply, chunks, delay, stall, text, thinking, tool
from tests.mock_upstream import MockUpstream, until
from tests.modules.conftest import Running, running
from tests.modules.exchanges import core, exchange

SENTENCE = "The cows come home at six in the evening. "
OTHER = "\n".join(f"Line {number} of a long table with the figure {number * 7919 % 1000}." for number in range(300))


def added(runaway: Runaway, said: str, piece: int = 7) -> int | None:
    """After how many characters it ran away; `None`: it did not."""
    for start in range(0, len(said), piece):
        if runaway.add(said[start : start + piece]):
            return start + piece
    return None


@pytest.mark.parametrize("block", [SENTENCE, "ha ", "x", "0123456789" * 12])
def test_one_block_over_and_over_runs_away_once_it_fills_the_span(block: str) -> None:
    said = OTHER[:500] + block * (8000 // len(block))
    at = added(Runaway(4000, 8), said)
    assert at is not None
    assert 4000 <= at <= 500 + 4000 + 2 * 4000 // 16


@pytest.mark.parametrize("said", [OTHER, SENTENCE * 20, OTHER + SENTENCE * 60, ("a" * 600 + "b") * 20])
def test_other_texts_do_not(said: str) -> None:
    assert added(Runaway(4000, 8), said) is None


async def stream(s: Running, **more: Any) -> tuple[str, str]:
    """What was said, and the code of the error that ended it (or its finish reason)."""
    said, end = "", ""
    try:
        answer = await s.sdk().chat.completions.create(
            model=s.model, messages=[{"role": "user", "content": "hi"}], stream=True, **more
        )
        async for chunk in answer:
            if chunk.choices:
                said += chunk.choices[0].delta.content or ""
                end = chunk.choices[0].finish_reason or end
    except openai.APIError as error:
        end = str(error.code)
    return said, end


async def last_trail(s: Running) -> list[tuple[str, dict[str, Any]]]:
    await s.settled()
    admin = s.http(s.admin_key)
    rows = (await admin.get("/api/observe/traces?limit=1")).json()["traces"]
    return await s.trail(rows[0]["id"], "idlekill")


async def test_a_caller_who_goes_is_noted_with_what_it_cost() -> None:
    async with running() as s:
        s.mock.script(chunks([f"word{number} " for number in range(1000)], piece_delay_s=0.1))
        answer = await s.sdk().chat.completions.create(
            model=s.model, messages=[{"role": "user", "content": "hi"}], stream=True
        )
        got = 0
        async for chunk in answer:
            got += bool(chunk.choices and chunk.choices[0].delta.content)
            if got == 5:
                break
        trace_id = answer.response.headers["x-stockyard-trace-id"]
        await answer.close()
        await until(lambda: s.mock.calls[0].hung_up)
        await until(lambda: s.instance.chute.in_flight == 0)
        trace = await s.trace(trace_id)
        assert (trace["http_status"], trace["status"]) == (499, "cancelled")
        assert 4 <= trace["tokens_out"] <= 20
        (entry,) = await s.trail(trace_id, "idlekill")
        assert (entry[0], entry[1]["reason"], entry[1]["tokens"]) == ("kill", "client_gone", trace["tokens_out"])


async def test_by_default_a_plain_call_passes_no_frame_of_it() -> None:
    async with running() as s:
        assert s.module("idlekill").hooks() == ("on_request", "on_finish")
        await s.configure({"timeout": False})
        assert "around" in s.module("idlekill").hooks()


LOOPS = {"idlekill": {"loop_repeats": 8, "loop_span_chars": 1000}}


async def test_a_stream_that_repeats_itself_ends_early() -> None:
    async with running(LOOPS) as s:
        s.mock.script(chunks([SENTENCE] * 300, piece_delay_s=0.001))
        said, end = await stream(s)
        assert end == "killed_loop"
        assert 1000 <= len(said) < 300 * len(SENTENCE)
        await until(lambda: s.mock.calls[0].hung_up)
        (entry,) = await last_trail(s)
        assert entry[1]["reason"] == "loop"
        assert entry[1]["tokens"] > 100


async def test_a_soft_end_looks_like_a_full_answer() -> None:
    async with running({"idlekill": {**LOOPS["idlekill"], "soft_end": True}}) as s:
        s.mock.script(chunks([SENTENCE] * 300, piece_delay_s=0.001))
        said, end = await stream(s)
        assert end == "length"
        assert said.startswith(SENTENCE)
        assert len(said) < 300 * len(SENTENCE)


@pytest.mark.parametrize("limit", [{"max_output_tokens": 20}, {"max_cost_usd": 0.001}])
async def test_ceilings_end_a_stream_and_refuse_a_whole_answer(limit: dict[str, Any]) -> None:
    price = '[prices."up/small"]\nin_usd_per_mtok = 10\nout_usd_per_mtok = 50\n'
    async with running({"idlekill": limit}, config=price) as s:
        words = [f"word{number} " for number in range(400)]
        s.mock.script(chunks(words, piece_delay_s=0.002), text("".join(words)), text("short"))
        said, end = await stream(s)
        assert end == "killed_limit"
        assert 1 <= len(said.split()) < 400
        refused = await s.chat()
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "killed_limit")
        assert refused.headers["x-should-retry"] == "false"
        trace = await s.trace(refused.headers["x-stockyard-trace-id"])
        assert trace["tokens_out"] > 20
        assert trace["cost_usd"] > 0
        assert (await s.chat()).status_code == 200


@pytest.mark.parametrize(
    "reply",
    [
        tool("look", {"at": "x" * 4000}, piece_delay_s=0.2),
        thinking("hmm " * 400, "So.", piece_delay_s=0.002),
        chunks(["天気"] * 200, piece_delay_s=0.002),
        chunks(["word " * 400, "end"], piece_delay_s=0.2),
    ],
)
async def test_ceilings_hold_for_whatever_a_stream_is_made_of(reply: Reply) -> None:
    async with running({"idlekill": {"max_output_tokens": 120}}) as s:
        s.mock.script(reply)
        _, end = await stream(s)
        assert end == "killed_limit"


async def test_ceilings_hold_for_calls_of_other_kinds() -> None:
    price = '[prices."up/small"]\nin_usd_per_mtok = 10\nout_usd_per_mtok = 50\n'
    async with running({"idlekill": {"max_cost_usd": 1e-6}}, config=price) as s:
        refused = await s.http().post("/v1/embeddings", json={"model": "up/small", "input": "what is this about?"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "killed_limit")


async def test_the_longest_time_holds_for_streams_and_whole_answers() -> None:
    async with running({"idlekill": {"max_duration_s": 0.2}, "retry": False}) as s:
        s.mock.script(chunks([f"{number} " for number in range(200)], piece_delay_s=0.02), delay(5))
        said, end = await stream(s)
        assert end == "killed_limit"
        assert said.startswith("0 1 ")
        refused = await s.chat()
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "killed_limit")
        await until(lambda: s.mock.calls[1].hung_up)


async def test_a_stalled_stream_and_a_stalled_call_are_ended_where_timeout_is_off() -> None:
    async with running({"idlekill": {"stall_s": 0.15}, "timeout": False, "retry": False}) as s:
        s.mock.script(stall(3, "one two three four five"), delay(5))
        assert await stream(s) == ("one two three ", "killed_stalled")
        await until(lambda: s.mock.calls[0].hung_up)
        refused = await s.chat()
        assert (refused.status_code, refused.json()["error"]["code"]) == (504, "killed_stalled")
        trace = await s.trace(refused.headers["x-stockyard-trace-id"])
        assert trace["attempts"][0]["error"] == "cancelled"


async def test_a_caller_who_takes_nothing_any_more_is_given_up() -> None:
    async with running({"idlekill": {"stall_s": 0.2}}) as s:
        big = "x" * 50_000
        s.mock.script(Reply(pieces=[big] * 2000))
        host, port = s.root.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        body = b'{"model":"up/small","stream":true,"messages":[{"role":"user","content":"hi"}]}'
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {s.key}\r\n"
        writer.write(head.encode() + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        await until(lambda: s.instance.chute.in_flight == 1)
        await until(lambda: s.instance.chute.in_flight == 0, 10.0)
        await until(lambda: not s.mock.open_connections)
        writer.close()
        (entry,) = await last_trail(s)
        assert entry[1]["reason"] == "caller_stalled"
        assert reader is not None


async def test_the_same_request_over_and_over_is_refused_to_that_caller_only() -> None:
    async with running({"idlekill": {"same_request_max": 3}}) as s:
        for _ in range(3):
            assert (await s.chat("again")).status_code == 200
        refused = await s.chat("again")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "request_loop")
        assert refused.headers["retry-after"] == "60"
        assert len(s.mock.calls) == 3
        assert (await s.chat("something else")).status_code == 200
        assert (await s.chat("again", stream=True)).status_code == 429


async def test_another_window_for_the_same_request_holds_and_what_came_counts_on() -> None:
    clock = FakeClock()
    module = IdleKill(IdleKill.Settings(same_request_max=2, same_request_window_s=600))
    await module.start(core(clock), None)
    for _ in range(2):
        module.on_request(exchange())
    newer = IdleKill(IdleKill.Settings(same_request_max=2, same_request_window_s=10))
    await newer.start(core(clock), module)
    with pytest.raises(StockyardError):
        newer.on_request(exchange())
    clock.advance(11)
    newer.on_request(exchange())
    stricter = IdleKill(IdleKill.Settings(same_request_max=1))
    await stricter.start(core(clock), newer)
    with pytest.raises(StockyardError):
        stricter.on_request(exchange())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([{"role": "user", "content": "a"}], [{"role": "user", "content": "b"}]),
        ([{"role": "user", "content": "a"}], [{"role": "system", "content": "a"}]),
        ([{"role": "user", "content": "a"}], [{"role": "user", "content": "a"}] * 2),
        ([{"role": "user", "content": "a"}], [{"role": "user", "content": [{"type": "text", "text": "a"}]}]),
        ([{"role": "user", "content": "a"}], [{"role": "user", "content": "a", "name": "n"}]),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}]}], [{"role": "user", "content": []}]),
    ],
)
def test_requests_are_the_same_when_all_of_their_messages_are(first: Any, second: Any) -> None:
    made = IdleKill(IdleKill.Settings(same_request_max=1))

    def ask(messages: Any) -> None:
        made.on_request(exchange(req={"model": "gpt-4o", "messages": messages}))

    ask(first)
    ask(second)
    for messages in (first, second):
        with pytest.raises(StockyardError, match="same request"):
            ask(orjson.loads(orjson.dumps(messages)))


async def test_the_webhook_is_told() -> None:
    async with MockUpstream() as hook, running({"idlekill": {**LOOPS["idlekill"], "webhook": hook.url}}) as s:
        s.mock.script(chunks([SENTENCE] * 300, piece_delay_s=0.001))
        await stream(s)
        await until(lambda: len(hook.calls) == 1)
        told = hook.calls[0].json()
        assert (told["event"], told["reason"], told["target"]) == ("call.killed", "loop", "up/small")
        assert told["trace_id"].startswith("tr_")


@pytest.mark.parametrize("soft", [False, True])
async def test_a_stream_of_the_messages_api_ends_in_its_own_way(soft: bool) -> None:
    async with running({"idlekill": {**LOOPS["idlekill"], "soft_end": soft}}) as s:
        s.mock.script(chunks([SENTENCE] * 300, piece_delay_s=0.001))
        asked = {**s.body(stream=True), "max_tokens": 5000}
        answer = await s.http().post("/v1/messages", json=asked)
        assert SENTENCE.split()[1] in answer.text
        events = [line.removeprefix("event: ") for line in answer.text.splitlines() if line.startswith("event: ")]
        if soft:
            assert '"stop_reason":"max_tokens"' in answer.text
            assert events[-1] == "message_stop"
        else:
            assert events[-1] == "error"
            assert "killed_loop" in answer.text
        await until(lambda: s.mock.calls[0].hung_up)


async def test_a_stream_of_which_the_caller_gets_nothing_for_long_is_no_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    from instance.chute.chain import Plan

    def dropping(self: Any, x: Any, delta: Any) -> None:
        delta.dropped = "hidden" in str(delta.obj)

    monkeypatch.setattr(Plan, "delta", dropping)
    async with running({"idlekill": {"stall_s": 0.2}, "timeout": {"between_tokens_s": 0.2}, "llmtap": True}) as s:
        s.mock.script(chunks(["seen ", *["hidden "] * 40, "end"], piece_delay_s=0.02))
        said, end = await stream(s)
        assert end == "stop"
        assert said.startswith("seen ")
        assert said.endswith("end")
        assert "hidden" not in said
