"""Providers that fail in every way there is: what the caller gets, what the trace says, and who is blamed.

`docs/failures.md` is the table of it.
"""

import asyncio
import datetime
import ipaddress
import socket
import ssl
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from instance.chute.failures import KIND_CODES, is_fault
from instance.chute.modules.reliability.retry import KINDS
from tests.mock_replies import (
    Reply,
    chunks,
    delay,
    drop,
    garbage,
    gzip_bomb,
    hang_up,
    html,
    stall,
    status,
    text,
    truncated_chunked,
    truncated_json,
    wrong_length,
)
from tests.mock_upstream import MockUpstream, until
from tests.modules.conftest import Running, running
from tests.raw_upstream import CHAT_HEAD, STREAM_HEAD, dripping, endless_headers, raw_upstream

FAST: dict[str, Any] = {"retry": {"base_delay_s": 0.001}, "timeout": {"first_token_s": 2.0, "between_tokens_s": 0.3}}
PLAIN_AND_STREAMED = pytest.mark.parametrize("stream", [False, True])
CONTENT = b'data: {"id":"1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"one "}}]}\n\n'


async def trace_of(s: Running, answer: httpx2.Response) -> dict[str, Any]:
    return await s.trace(answer.headers["x-stockyard-trace-id"])


def streamed_error(answer: httpx2.Response) -> tuple[str, dict[str, Any]]:
    """What a stream said, and the error that ended it."""
    said, error = "", {}
    for line in answer.text.splitlines():
        if line.startswith("data: {"):
            chunk = orjson.loads(line[6:])
            if chunk.get("error"):
                error = chunk["error"]
            for choice in chunk.get("choices") or ():
                said += choice["delta"].get("content") or ""
    assert "[DONE]" not in answer.text
    return said, error


async def expect(
    s: Running, answer: httpx2.Response, code: int, error: str, attempts: list[str], *, excerpt: str = ""
) -> None:
    """The error that the caller got, and the trace of it."""
    assert (answer.status_code, answer.json()["error"]["code"]) == (code, error), answer.text
    assert "<html" not in answer.text
    trace = await trace_of(s, answer)
    assert (trace["status"], trace["http_status"], trace["error"]["code"]) == ("error", code, error)
    assert [row["error"] for row in trace["attempts"]] == attempts
    assert excerpt in (trace["error"]["upstream_excerpt"] or "")
    entries = await s.trail(trace["id"], "errornorm")
    assert [(action, detail["code"]) for action, detail in entries] == [("error", error)]
    assert len(await s.trail(trace["id"], "retry")) == len(attempts) - 1


SCRIPTED: list[tuple[str, Reply, int, str, list[str], str]] = [
    ("reset", hang_up(), 502, "provider_error", ["reset"] * 3, ""),
    ("content-length too long", wrong_length(1000), 502, "bad_upstream_response", ["truncated"] * 3, ""),
    ("content-length too short", wrong_length(5), 502, "bad_upstream_response", ["bad_response"], ""),
    ("no last chunk", truncated_chunked(), 502, "bad_upstream_response", ["truncated"] * 3, ""),
    ("cut before its first content", drop(0), 502, "bad_upstream_response", ["truncated"] * 3, ""),
    ("no HTTP", garbage(), 502, "bad_upstream_response", ["bad_response"], ""),
    ("an error page", html(502), 502, "provider_error", ["http"] * 3, "Bad gateway"),
    ("a page with 200", html(200), 502, "bad_upstream_response", ["bad_response"], ""),
    ("500 without a body", Reply(status=500, body=b""), 502, "provider_error", ["http"] * 3, ""),
    ("429", status(429), 429, "rate_limited", ["http"] * 3, "scripted failure"),
]


@PLAIN_AND_STREAMED
@pytest.mark.parametrize("case", SCRIPTED, ids=[row[0] for row in SCRIPTED])
async def test_each_failure_has_its_answer_and_its_trace(case: Any, stream: bool) -> None:
    _, reply, code, error, attempts, excerpt = case
    async with running(FAST) as s:
        s.mock.script(*[reply] * 3)
        answer = await s.chat(stream=stream)
        await expect(s, answer, code, error, attempts, excerpt=excerpt)
        s.mock._replies.clear()
        assert (await s.chat("again", stream=stream)).status_code == 200


async def test_json_that_stops_in_the_middle() -> None:
    async with running(FAST) as s:
        s.mock.script(truncated_json())
        answer = await s.chat()
        await expect(s, answer, 502, "bad_upstream_response", ["bad_response"], excerpt='"object": "chat.completion"')
        assert len(s.mock.calls) == 1


async def test_a_stream_that_stops_after_its_first_words() -> None:
    async with running(FAST) as s:
        s.mock.script(drop(2, "one two three"))
        answer = await s.chat(stream=True)
        said, error = streamed_error(answer)
        assert (said, error["code"]) == ("one two ", "bad_upstream_response")
        trace = await trace_of(s, answer)
        assert (trace["status"], trace["http_status"]) == ("error", 502)
        assert [row["error"] for row in trace["attempts"]] == ["truncated"]
        assert trace["tokens_out"] > 0
        assert len(s.mock.calls) == 1


async def test_a_stream_with_an_event_that_is_no_json() -> None:
    async with running(FAST) as s:
        wire = STREAM_HEAD + b"connection: close\r\n\r\n" + CONTENT + b'data: {"choices": [{"ind\n\n'
        s.mock.script(Reply(wire=wire))
        answer = await s.chat(stream=True)
        assert streamed_error(answer)[1]["code"] == "bad_upstream_response"
        assert (await trace_of(s, answer))["attempts"][0]["error"] == "bad_response"


@PLAIN_AND_STREAMED
async def test_a_refused_connection(stream: bool) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        config = f'[providers.gone]\nbase_url = "http://127.0.0.1:{port}/v1"\napi_key = "a-key-of-the-tests"\n'
        async with running(FAST, config=config) as s:
            s.model = "gone/m"
            await expect(s, await s.chat(stream=stream), 502, "provider_error", ["connect"] * 3)


def self_signed(folder: Path) -> ssl.SSLContext:
    """A server's context whose certificate nobody vouches for."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    file.write_bytes(pem + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@PLAIN_AND_STREAMED
async def test_a_certificate_that_nobody_vouches_for(stream: bool, tmp_path: Path) -> None:
    async with MockUpstream(tls=self_signed(tmp_path)) as upstream:
        config = f'[providers.tls]\nbase_url = "{upstream.url}"\napi_key = "a-key-of-the-tests"\n'
        async with running(FAST, config=config) as s:
            s.model = "tls/m"
            answer = await s.chat(stream=stream)
            await expect(s, answer, 502, "provider_error", ["tls"])
            assert "TLS" in answer.json()["error"]["message"]
            assert len(upstream.calls) == 0


@PLAIN_AND_STREAMED
async def test_an_answer_that_drips(stream: bool) -> None:
    body = b'data: {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [' + b" " * 4000
    head = (STREAM_HEAD if stream else CHAT_HEAD) + b"content-length: 9999\r\n\r\n"
    async with raw_upstream(dripping(head, body)) as upstream:
        config = f'[providers.drip]\nbase_url = "{upstream.url}"\napi_key = "a-key-of-the-tests"\n'
        limits = {"timeout": {"first_token_s": 0.3}, "retry": False}
        async with running(limits, config=config) as s:
            s.model = "drip/m"
            await expect(s, await s.chat(stream=stream), 504, "timeout_first_token", ["timeout_first_token"])
            await until(lambda: upstream.gone == 1)


async def test_a_stream_that_drips_after_its_first_words() -> None:
    talk = dripping(STREAM_HEAD + b"connection: close\r\n\r\n" + CONTENT, b"data: {" + b" " * 4000)
    async with raw_upstream(talk) as upstream:
        config = f'[providers.drip]\nbase_url = "{upstream.url}"\napi_key = "a-key-of-the-tests"\n'
        async with running(FAST, config=config) as s:
            s.model = "drip/m"
            answer = await s.chat(stream=True)
            said, error = streamed_error(answer)
            assert (said, error["code"]) == ("one ", "timeout_stream")
            assert (await trace_of(s, answer))["attempts"][0]["error"] == "timeout_stream"
            await until(lambda: upstream.gone == 1)


@PLAIN_AND_STREAMED
async def test_headers_without_end(stream: bool) -> None:
    async with raw_upstream(endless_headers) as upstream:
        config = f'[providers.endless]\nbase_url = "{upstream.url}"\napi_key = "a-key-of-the-tests"\n'
        async with running(FAST, config=config) as s:
            s.model = "endless/m"
            await expect(s, await s.chat(stream=stream), 502, "bad_upstream_response", ["too_large"])
            await until(lambda: upstream.gone == 1)
            assert upstream.calls == 1


@PLAIN_AND_STREAMED
async def test_a_gzip_bomb_is_not_unpacked(stream: bool) -> None:
    async with running(FAST) as s:
        bomb = gzip_bomb(256)
        bomb.content_type = "text/event-stream" if stream else "application/json"
        s.mock.script(bomb)
        before = _peak_mb()
        answer = await s.chat(stream=stream)
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "bad_upstream_response")
        trace = await trace_of(s, answer)
        assert [row["error"] for row in trace["attempts"]] in (["too_large"], ["bad_response"])
        assert _peak_mb() - before < 128


def _peak_mb() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@PLAIN_AND_STREAMED
async def test_429_is_waited_for_as_asked_and_told_when_that_is_too_long(stream: bool) -> None:
    async with running(FAST) as s:
        s.mock.script(status(429, headers={"retry-after-ms": "50"}), text("ok"))
        answer = await s.chat(stream=stream)
        assert answer.status_code == 200
        entries = await s.trail(answer.headers["x-stockyard-trace-id"], "retry")
        assert [(detail["reason"], detail["wait_ms"]) for _, detail in entries] == [("429", 50)]
        s.mock.script(status(429, headers={"retry-after": "60"}))
        refused = await s.chat(stream=stream)
        await expect(s, refused, 429, "rate_limited", ["http"])
        assert refused.headers["retry-after"] == "60"


@PLAIN_AND_STREAMED
async def test_a_storm_of_503s_is_not_doubled_by_retries(stream: bool) -> None:
    async with running(FAST) as s:
        s.mock.script(*[status(503)] * 1000)
        answers = await asyncio.gather(*(s.chat(stream=stream) for _ in range(40)))
        assert {answer.status_code for answer in answers} == {502}
        assert 40 < len(s.mock.calls) <= 40 + 10 + 0.2 * 40 + 1


@PLAIN_AND_STREAMED
async def test_a_caller_who_hangs_up_while_he_waits_counts_against_nobody(stream: bool) -> None:
    modules = {"circuitbreaker": {"consecutive": 1, "spare_last": False}, "healthcheck": {"fail_after": 1}}
    async with running(modules) as s:
        s.mock.script(delay(30))
        with pytest.raises(httpx2.TimeoutException):
            await s.http().post("/v1/chat/completions", json=s.body(stream=stream), timeout=0.2)
        await until(lambda: s.mock.calls[0].hung_up)
        await until(lambda: s.instance.chute.in_flight == 0)
        services = s.instance.core.services
        assert services["breakers"].of_provider("up") == "closed"
        assert services["health"].of_provider("up") == "healthy"
        provider = services["providers"].get("up")
        assert (provider.health.error_count, provider.status) == (0, "active")
        (trace,) = (await _traces(s))[:1]
        assert (trace["status"], trace["http_status"], trace["error"]["code"]) == ("cancelled", 499, "client_closed")
        assert [row["error"] for row in trace["attempts"]] == ["cancelled"]
        assert (await s.chat(stream=stream)).status_code == 200


async def test_a_caller_who_hangs_up_in_a_stream_pays_for_what_he_got() -> None:
    price = '[prices."up/small"]\nin_usd_per_mtok = 10\nout_usd_per_mtok = 50\n'
    modules = {"circuitbreaker": {"consecutive": 1, "spare_last": False}, "healthcheck": {"fail_after": 1}}
    async with running(modules, config=price) as s:
        s.mock.script(chunks([f"word{number} " for number in range(500)], piece_delay_s=0.02))
        async with s.http().stream("POST", "/v1/chat/completions", json=s.body(stream=True)) as answer:
            async for line in answer.aiter_lines():
                if "word5" in line:
                    break
        await until(lambda: s.mock.calls[0].hung_up)
        await until(lambda: s.instance.chute.in_flight == 0)
        (trace,) = (await _traces(s))[:1]
        assert (trace["status"], trace["http_status"]) == ("cancelled", 499)
        assert 3 <= trace["tokens_out"] < 200
        assert trace["cost_usd"] > 0
        assert s.instance.core.services["breakers"].of_provider("up") == "closed"
        assert s.instance.core.services["health"].of_provider("up") == "healthy"


async def test_a_caller_who_hangs_up_in_a_stall_ends_the_upstream_call_too() -> None:
    async with running() as s:
        s.mock.script(stall(2, "one two three"))
        async with s.http().stream("POST", "/v1/chat/completions", json=s.body(stream=True)) as answer:
            async for line in answer.aiter_lines():
                if "two" in line:
                    break
        await until(lambda: s.mock.calls[0].hung_up)


async def _traces(s: Running) -> list[dict[str, Any]]:
    """Every trace, the newest first."""
    await s.settled()
    rows = (await s.http(s.admin_key).get("/api/observe/traces?limit=5")).json()["traces"]
    return [await s.trace(row["id"]) for row in rows]


def test_the_page_names_every_kind_of_failure_with_its_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "failures.md").read_text("utf-8")
    rows = {line.split("|")[1].strip(): line for line in page.splitlines() if line.startswith("| `")}
    for kind, code in KIND_CODES.items():
        if kind != "timeout_connect":
            assert f"`{code}`" in rows[f"`{kind}`"]
            assert ("yes" in rows[f"`{kind}`"].split("|")[5]) == is_fault(kind, 0)
            assert rows[f"`{kind}`"].split("|")[4].strip().startswith("no") == (kind not in KINDS)


DIALECTS = ("anthropic", "gemini", "cohere", "ollama")


def provider_of(dialect: str, mock: MockUpstream) -> str:
    """Rows of a configuration for a provider that speaks a dialect of its own."""
    return f'[providers.own]\ntype = "{dialect}"\nbase_url = "{mock.at(dialect)}"\napi_key = "a-key-of-the-tests"\n'


@PLAIN_AND_STREAMED
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_providers_of_other_dialects_fail_alike(dialect: str, stream: bool) -> None:
    cases: list[tuple[Reply, int, str, list[str]]] = [
        (hang_up(), 502, "provider_error", ["reset"] * 3),
        (html(502), 502, "provider_error", ["http"] * 3),
        (html(200), 502, "bad_upstream_response", ["bad_response"]),
        (status(500), 502, "provider_error", ["http"] * 3),
        (status(429), 429, "rate_limited", ["http"] * 3),
        (status(400), 400, "bad_request", ["http"]),
        (status(401), 502, "provider_auth_failed", ["http"]),
        (wrong_length(1000), 502, "bad_upstream_response", ["truncated"] * 3),
        (truncated_chunked(), 502, "bad_upstream_response", ["truncated"] * 3),
        (garbage(), 502, "bad_upstream_response", ["bad_response"]),
        (delay(30), 504, "timeout_first_token", ["timeout_first_token"] * 3),
    ]
    if dialect == "ollama":
        cases.pop()  # it may load a model for minutes before it answers
    plenty = {"base_delay_s": 0.001, "budget_ratio": 10}
    settings = {"retry": plenty, "timeout": {"first_token_s": 0.3}, "circuitbreaker": False, "healthcheck": False}
    async with MockUpstream() as mock, running(settings, config=provider_of(dialect, mock)) as s:
        s.model = "own/small"
        for reply, code, error, attempts in cases:
            mock.script(*[reply] * len(attempts))
            answer = await s.chat(stream=stream, max_tokens=100)
            await expect(s, answer, code, error, attempts)
        assert (await s.chat("well", stream=stream, max_tokens=100)).status_code == 200


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_their_streams_break_off_alike(dialect: str) -> None:
    async with MockUpstream() as mock, running(FAST, config=provider_of(dialect, mock)) as s:
        s.model = "own/small"
        for reply, code, kind in (
            (drop(2, "one two three four"), "bad_upstream_response", "truncated"),
            (stall(2, "one two three four"), "timeout_stream", "timeout_stream"),
        ):
            mock.script(reply)
            answer = await s.chat(stream=True, max_tokens=100)
            said, error = streamed_error(answer)
            assert (said.strip(), error["code"]) == ("one two", code)
            trace = await trace_of(s, answer)
            assert [row["error"] for row in trace["attempts"]] == [kind]
        await until(lambda: mock.calls[-1].hung_up)


@PLAIN_AND_STREAMED
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_caller_who_hangs_up_ends_their_calls_too(dialect: str, stream: bool) -> None:
    async with MockUpstream() as mock, running(FAST, config=provider_of(dialect, mock)) as s:
        s.model = "own/small"
        mock.script(delay(30))
        with pytest.raises(httpx2.TimeoutException):
            await s.http().post("/v1/chat/completions", json=s.body(stream=stream, max_tokens=100), timeout=0.2)
        await until(lambda: mock.calls[0].hung_up)
        await until(lambda: s.instance.chute.in_flight == 0)
        assert s.instance.core.services["breakers"].of_provider("own") == "closed"
        (trace,) = (await _traces(s))[:1]
        assert (trace["status"], [row["error"] for row in trace["attempts"]]) == ("cancelled", ["cancelled"])


async def test_a_connection_that_breaks_behind_the_whole_answer_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    end = b'data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    body = CONTENT + end

    async def talk(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(body), body))

    async with raw_upstream(talk) as upstream:
        row = f'[providers.raw]\nbase_url = "{upstream.url}"\napi_key = "x"\nmodels = ["m"]\n'
        async with running(config=row) as s:
            s.model = "raw/m"
            answer = await s.chat(stream=True)
            assert answer.text.endswith("data: [DONE]\n\n")
            assert (await trace_of(s, answer))["status"] == "ok"
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
