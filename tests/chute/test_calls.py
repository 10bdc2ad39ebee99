"""Calls over HTTP: bad input, broken providers, callers who leave; each has its answer and a trace that says what happened."""

import asyncio
import hashlib
from typing import Any

import httpx2
import orjson
import pytest

from tests.mock_replies import Reply, delay, drop, gzip_bomb, html, stall, status, text, truncated_json, wrong_length
from tests.mock_upstream import until
from tests.modules.conftest import Running, running

QUIET = {"retry": False}
SECOND_PROVIDER = '[providers.gone]\nbase_url = "http://127.0.0.1:9/v1"\napi_key = "gone-key-123"\nmodels = ["x"]\n'


def code_of(answer: httpx2.Response) -> str:
    error = answer.json()["error"]
    assert error["status"] == answer.status_code
    assert error["message"]
    return str(error["code"])


async def traced(s: Running, answer: httpx2.Response) -> dict[str, Any]:
    return await s.trace(answer.headers["x-stockyard-trace-id"])


async def test_a_call_that_nothing_changes_is_forwarded_byte_for_byte() -> None:
    async with running(only=True) as s:
        raw = b'{ "model":"small",\n "messages":[{"role":"user","content":"h\\u00e9"}], "new":1.50 }'
        answer = await s.http().post("/v1/chat/completions", content=raw)
        assert answer.status_code == 200
        assert s.mock.calls[-1].body == raw


async def test_the_answer_of_the_provider_arrives_byte_for_byte() -> None:
    body = b'{"choices": [ {"index":0, "message":{"role":"assistant","content":"x"}, "finish_reason":"stop"} ],  "odd": 1.0}'
    async with running() as s:
        s.mock.script(Reply(body=body))
        assert (await s.chat()).content == body


@pytest.mark.parametrize(
    ("raw", "status_code", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b"null", 400, "bad_request"),
        (b'{"messages":[]}', 400, "model_required"),
        (b'{"model":"mock/gpt","messages":[]}', 400, "bad_request"),
        (b'{"model":"no-such-model","messages":[{"role":"user","content":"x"}]}', 404, "model_not_found"),
        (
            b'{"model":"mock/gpt","messages":[{"role":"user","content":"x"}],"mock":{"delay_ms":"x"}}',
            400,
            "bad_request",
        ),
    ],
)
async def test_a_bad_request_has_its_code_and_a_trace(raw: bytes, status_code: int, code: str) -> None:
    async with running(QUIET, config=SECOND_PROVIDER) as s:
        answer = await s.http().post("/v1/chat/completions", content=raw)
        assert (answer.status_code, code_of(answer)) == (status_code, code)
        trace = await traced(s, answer)
        assert (trace["status"], trace["http_status"], trace["error"]["code"]) == ("error", status_code, code)


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_refused_before_it_is_read(declared: bool) -> None:
    async with running() as s:
        size = 50 << 20
        block = b" " * (1 << 20)

        async def blocks() -> Any:
            for _ in range(size // len(block)):
                yield block

        headers = {"content-length": str(size)} if declared else {}
        answer = await s.http().post("/v1/chat/completions", content=blocks(), headers=headers)
        assert (answer.status_code, code_of(answer)) == (413, "body_too_large")
        assert (await traced(s, answer))["error"]["code"] == "body_too_large"
        assert (await s.chat()).status_code == 200


@pytest.mark.parametrize(
    ("reply", "status_code", "code"),
    [
        (html(), 502, "provider_error"),
        (truncated_json(), 502, "bad_upstream_response"),
        (wrong_length(99), 502, "bad_upstream_response"),
        (gzip_bomb(), 502, "bad_upstream_response"),
        (drop(2), 502, "bad_upstream_response"),
        (Reply(body=b"[]"), 502, "bad_upstream_response"),
        (Reply(body=b'{"choices":[1]}'), 502, "bad_upstream_response"),
        (Reply(body=b'{"choices":"x"}'), 502, "bad_upstream_response"),
        (Reply(wire=b"\x00\x01\x02garbage\r\n\r\n"), 502, "bad_upstream_response"),
        (status(503), 502, "provider_error"),
        (status(404), 404, "not_found"),
    ],
)
@pytest.mark.parametrize("errornorm", [True, False])
async def test_rubbish_from_the_provider_is_a_clear_error(
    reply: Reply, status_code: int, code: str, errornorm: bool
) -> None:
    async with running({**QUIET, "errornorm": errornorm}) as s:
        s.mock.script(reply)
        answer = await s.chat()
        assert answer.status_code in (status_code, 503)
        if errornorm:
            assert code_of(answer) == code
        trace = await traced(s, answer)
        assert trace["status"] == "error"
        assert trace["error"]["code"]
        assert trace["attempts"][0]["error"]
        assert (await s.chat()).status_code == 200


async def stream_of(s: Running, **more: Any) -> tuple[httpx2.Response, str]:
    async with s.http().stream("POST", "/v1/chat/completions", json=s.body("a b c d e", stream=True, **more)) as answer:
        return answer, (await answer.aread()).decode()


@pytest.mark.parametrize(
    "reply",
    [
        drop(2),
        Reply(
            body=b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\ndata: {broken\n\n',
            content_type="text/event-stream",
        ),
        Reply(
            body=b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\ndata: {"choices":[7]}\n\n',
            content_type="text/event-stream",
        ),
        Reply(body=b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n', content_type="text/event-stream"),
        Reply(
            body=b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\ndata: {"error":{"message":"overloaded","code":529}}\n\n',
            content_type="text/event-stream",
        ),
    ],
)
@pytest.mark.parametrize("errornorm", [True, False])
async def test_half_a_stream_ends_in_one_error_event_and_a_trace(reply: Reply, errornorm: bool) -> None:
    async with running({**QUIET, "errornorm": errornorm}) as s:
        s.mock.script(reply)
        answer, got = await stream_of(s)
        assert answer.status_code == 200
        assert "[DONE]" not in got
        last = got.strip().split("\n\n")[-1]
        assert orjson.loads(last.removeprefix("data: "))["error"]["code"]
        assert got.count('"error"') == 1
        trace = await traced(s, answer)
        assert trace["status"] == "error"
        assert trace["attempts"][0]["error"]
        assert trace["tokens_out"] > 0
        assert (await s.chat()).status_code == 200


@pytest.mark.parametrize("body", [b"", b"data: [DONE]\n\n", b"hello", b'{"choices":[]}', b"data: 7\n\n"])
async def test_a_stream_without_content_is_an_error_or_empty_never_a_fault_of_ours(body: bytes) -> None:
    async with running(QUIET) as s:
        s.mock.script(Reply(body=body, content_type="text/event-stream"))
        answer, got = await stream_of(s)
        if body == b"data: [DONE]\n\n":
            assert (answer.status_code, got) == (200, "data: [DONE]\n\n")
        else:
            assert answer.status_code == 502
            assert orjson.loads(got)["error"]["code"] == "bad_upstream_response"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_who_leaves_cancels_the_upstream_call_and_counts_against_nobody(stream: bool) -> None:
    async with running() as s:
        s.mock.script(stall(2) if stream else delay(30))
        client = httpx2.AsyncClient(base_url=s.root, headers={"authorization": f"Bearer {s.key}"})
        call = asyncio.create_task(client.post("/v1/chat/completions", json=s.body("a b c d", stream=stream)))
        await until(lambda: bool(s.mock.calls))
        await asyncio.sleep(0.05)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await client.aclose()
        await until(lambda: s.mock.calls[-1].hung_up)
        await until(lambda: s.instance.chute.in_flight == 0)
        async with s.http(s.admin_key) as admin:
            await s.settled()
            (trace,) = (await admin.get("/api/observe/traces", params={"limit": 1})).json()["traces"]
        assert (trace["status"], trace["http_status"]) == ("cancelled", 499)
        assert s.instance.chute.errors == 0
        assert (await s.chat()).status_code == 200


async def test_a_provider_that_is_down_is_a_502_and_the_trace_names_it() -> None:
    async with running(QUIET, config=SECOND_PROVIDER) as s:
        answer = await s.http().post("/v1/chat/completions", json={**s.body(), "model": "gone/x"})
        assert (answer.status_code, code_of(answer)) == (502, "provider_error")
        trace = await traced(s, answer)
        assert trace["attempts"][0]["provider"] == "gone"
        assert trace["attempts"][0]["error"] == "connect"


async def test_a_refused_call_reaches_no_provider_and_is_in_traces_and_ledger() -> None:
    async with running({"rateshield": {"limits": [{"by": "key", "requests": 1, "per": "hour", "burst": 1}]}}) as s:
        assert (await s.chat()).status_code == 200
        answer = await s.chat()
        assert (answer.status_code, code_of(answer)) == (429, "rate_limited")
        assert answer.headers["x-stockyard-module"] == "rateshield"
        assert len(s.mock.calls) == 1
        trace = await traced(s, answer)
        assert (trace["status"], trace["error"]["module"], trace["cost_usd"]) == ("blocked", "rateshield", 0)
        async with s.http(s.admin_key) as admin:
            events = (await admin.get("/api/trust/ledger", params={"trace_id": trace["id"]})).json()["events"]
        assert [event["detail"]["status"] for event in events] == ["blocked"]


@pytest.mark.parametrize(
    ("method", "path", "status_code", "code"),
    [
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/v1/nothing", 404, "not_found"),
        ("POST", "/v1/files", 501, "not_supported"),
        ("GET", "/v1/models/no/such", 404, "model_not_found"),
    ],
)
async def test_other_paths_and_methods_are_told_so(method: str, path: str, status_code: int, code: str) -> None:
    async with running() as s:
        answer = await s.http().request(method, path)
        assert (answer.status_code, code_of(answer)) == (status_code, code)


async def test_keep_alive_comments_fill_a_long_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("instance.chute.call_watch.KEEP_ALIVE_S", 0.05)
    async with running() as s:
        s.mock.script(text("a b c", piece_delay_s=0.2))
        _, got = await stream_of(s)
        assert ": keep-alive" in got
        assert got.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("size", [10, 100_000])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_ledger_holds_the_digest_of_what_was_asked(size: int, stream: bool) -> None:
    async with running() as s:
        raw = orjson.dumps(s.body("x" * size, stream=stream))
        answer = await s.http().post("/v1/chat/completions", content=raw)
        trace_id = answer.headers["x-stockyard-trace-id"]
        await s.settled()
        ledger = await s.http(s.admin_key).get("/api/trust/ledger", params={"trace_id": trace_id})
        (event,) = ledger.json()["events"]
        assert event["detail"]["request_sha256"] == hashlib.sha256(raw).hexdigest()
