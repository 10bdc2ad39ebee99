"""alertpulse: alerts over HTTP, with notices to a receiver that checks their signature."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import time_ns
from typing import Any

import orjson
import pytest

from instance.core.clock import Clock
from instance.lookout.alerts import deliveries
from tests.mock_replies import status, text
from tests.mock_upstream import until
from tests.modules.conftest import Running, running
from tests.waiting import until as until_true

SECRET = "a-secret-of-the-tests"


class Ahead(Clock):
    """The machine's time, and a jump ahead of it."""

    def __init__(self) -> None:
        self.by_ns = 0

    def wall_ns(self) -> int:
        return time_ns() + self.by_ns


class Receiver:
    """A webhook: what was posted to it. `answers` are statuses to give, 200 when there is none left."""

    def __init__(self) -> None:
        self.posted: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {
                    name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
                }
                self.posted.append((headers, await reader.readexactly(int(headers["content-length"]))))
                code = self.answers.pop(0) if self.answers else 200
                writer.write(f"HTTP/1.1 {code} X\r\ncontent-length: 0\r\n\r\n".encode())
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()

    def notices(self) -> list[tuple[str, str]]:
        """(type, state) of each notice."""
        made = [orjson.loads(body) for _, body in self.posted]
        return [(one["type"], one["data"]["state"]) for one in made]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    try:
        yield receiver
    finally:
        server.close()


@asynccontextmanager
async def alerting(**settings: Any) -> AsyncIterator[tuple[Running, Ahead]]:
    own = {"allow_private_webhooks": True, "for_s": 0, **settings}
    async with running({"alertpulse": own, "retry": False, "circuitbreaker": False}) as s:
        clock = s.instance.core.clock = Ahead()
        yield s, clock


async def make(s: Running, **rule: Any) -> dict[str, Any]:
    answer = await s.http(s.admin_key).post("/api/observe/alerts", json={"name": "rule", **rule})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def webhook(receiver: Receiver) -> dict[str, Any]:
    return {"channel": "webhook", "channel_config": {"url": receiver.url, "secret": SECRET}}


async def look(s: Running, clock: Ahead, after_s: float = 0.0) -> None:
    clock.by_ns += round(after_s * 1e9)
    await s.module("alertpulse").tick()


async def shown(s: Running, alert_id: int) -> dict[str, Any]:
    found: dict[str, Any] = (await s.http(s.admin_key).get(f"/api/observe/alerts/{alert_id}")).json()
    return found


async def history(s: Running) -> list[dict[str, Any]]:
    """What the rules of a test fired for; an instance has some of its own."""
    rows: list[dict[str, Any]] = (await s.http(s.admin_key).get("/api/observe/alerts/history")).json()["history"]
    return [row for row in rows if row["rule_name"] == "rule"]


async def test_half_of_the_calls_fail_and_one_notice_comes_and_after_good_traffic_one_more() -> None:
    async with receiving() as receiver, alerting(for_s=30) as (s, clock):
        rule = {"metric": "error_rate", "condition": ">", "threshold": 20, "window": "1m", "min_requests": 10}
        made = await make(s, **rule, **webhook(receiver))
        assert (made["for_s"], made["window_seconds"], made["state"]) == (30, 60, "ok")
        s.mock.script(*[reply for _ in range(6) for reply in (status(500), text("fine"))])
        for _ in range(12):
            await s.chat()
        for _ in range(5):
            await look(s, clock, 10)
        await until(lambda: len(receiver.posted) == 1)
        headers, body = receiver.posted[0]
        expected = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        assert headers["x-stockyard-signature"] == f"sha256={expected}"
        assert headers["x-stockyard-event"] == "alert.fired"
        notice = orjson.loads(body)
        assert (notice["type"], notice["id"]) == ("alert.fired", headers["webhook-id"])
        assert (notice["data"]["state"], notice["data"]["value"], notice["data"]["metric"]) == (
            "firing",
            50,
            "error_rate",
        )
        (row,) = await history(s)
        assert (row["state"], row["metric_value"], row["peak"], row["resolved_at"]) == ("fired", 50, 50, None)
        trace = await s.trace(row["trace_ids"][0])
        assert trace["status"] == "error"
        assert (await shown(s, made["id"]))["state"] == "firing"

        await look(s, clock, 40)
        for _ in range(20):
            await s.chat()
        for _ in range(5):
            await look(s, clock, 10)
        await until(lambda: len(receiver.posted) == 2)
        assert receiver.notices() == [("alert.fired", "firing"), ("alert.resolved", "resolved")]
        (row,) = await history(s)
        assert (row["state"], row["delivered"]) == ("resolved", True) and row["resolved_at"]
        listed = (await s.http(s.admin_key).get(f"/api/observe/alerts/{made['id']}/deliveries")).json()["deliveries"]
        assert [(one["event"], one["status"], one["http_status"]) for one in listed] == [
            ("alert.resolved", "delivered", 200),
            ("alert.fired", "delivered", 200),
        ]


async def test_few_calls_are_no_evidence_and_cached_or_refused_ones_no_errors() -> None:
    async with alerting() as (s, clock):
        made = await make(s, metric="error_rate", threshold=20, min_requests=10)
        s.mock.script(status(500))
        await s.chat()
        await look(s, clock)
        assert (await shown(s, made["id"]))["state"] == "no_data"
        await s.configure({"ipfence": {"allow": ["203.0.113.9"]}})
        for _ in range(20):
            await s.chat()
        await look(s, clock)
        found = await shown(s, made["id"])
        assert found["state"] == "ok" and found["value"] == pytest.approx(100 / 21)


async def test_no_calls_at_all_are_noticed() -> None:
    async with alerting() as (s, clock):
        made = await make(s, metric="count", condition="lt", threshold=1, window="5m")
        await s.chat()
        await look(s, clock)
        assert (await shown(s, made["id"]))["state"] == "ok"
        await look(s, clock, 301)
        assert (await shown(s, made["id"]))["state"] == "firing"
        await s.http(s.admin_key).get("/api/observe/overview")
        assert (await s.http(s.admin_key).get("/api/observe/overview")).json()["firing_alerts"] == 1


async def test_a_filter_narrows_the_calls() -> None:
    async with alerting() as (s, clock):
        ids = {}
        for name, narrowed in {
            "small": {"model": "*small"},
            "large": {"model": "large"},
            "elsewhere": {"provider": "other"},
            "tagged": {"tag": "feature=search"},
            "team": {"team": "blue"},
        }.items():
            ids[name] = (await make(s, name=name, metric="count", threshold=0, filter=narrowed))["id"]
        await s.chat(headers={"X-Stockyard-Tags": "feature=search", "X-Stockyard-Team": "blue"})
        await s.chat(headers={"X-Stockyard-Tags": "feature=chat"})
        await look(s, clock)
        values = {name: (await shown(s, alert_id))["value"] for name, alert_id in ids.items()}
        assert values == {"small": 2, "large": 0, "elsewhere": 0, "tagged": 1, "team": 1}


async def test_every_metric_of_calls_has_a_value() -> None:
    metrics = [
        "error_rate latency_avg latency_p50 latency_p95 latency_p99 overhead_p99 cost_usd cost_per_min count request_rate",
        "tokens_per_request tokens_per_min provider_errors blocked_rate cache_hit_rate safety_findings code_findings ttft_p95",
    ]
    async with alerting() as (s, clock):
        ids = [(await make(s, name=name, metric=name, threshold=1e9))["id"] for name in " ".join(metrics).split()]
        await s.http().post("/v1/chat/completions", json=s.body(stream=True))
        s.mock.script(status(500))
        await s.chat()
        await look(s, clock)
        values = {(one := await shown(s, alert_id))["name"]: one["value"] for alert_id in ids}
        assert all(value is not None for value in values.values())
        assert (values["count"], values["error_rate"], values["provider_errors"]) == (2, 50, 1)
        assert values["request_rate"] == pytest.approx(2 / 5)
        assert 0 < values["latency_p50"] <= values["latency_p99"]


async def test_a_rule_sees_calls_from_before_it_was_made_and_from_before_a_restart() -> None:
    async with alerting() as (s, clock):
        s.mock.script(status(500), text("x", usage={"prompt_tokens": 6, "completion_tokens": 4, "total_tokens": 10}))
        await s.chat(headers={"X-Stockyard-Tags": "feature=a"})
        await s.chat()
        await s.settled()
        made = await make(s, name="errors", metric="error_rate", threshold=20, min_requests=2)
        tagged = await make(s, name="tagged", metric="count", threshold=0, filter={"tag": "feature"})
        await look(s, clock)
        assert (await shown(s, made["id"]))["value"] == 50
        assert (await shown(s, tagged["id"]))["value"] == 1


async def test_a_firing_alert_stays_one_over_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as receiver, alerting() as (s, clock):
        await make(s, metric="count", condition="lt", threshold=1, **webhook(receiver))
        await look(s, clock)
        await until(lambda: len(receiver.posted) == 1)
        alerts = s.instance.lookout.alerts
        alerts.kept, alerts._loaded = {}, False  # as a new process finds it
        await look(s, clock, 10)
        await s.chat()
        await s.chat()
        await look(s, clock)
        await until(lambda: len(receiver.posted) == 2)
        assert receiver.notices() == [("alert.fired", "firing"), ("alert.resolved", "resolved")]


async def test_a_notice_that_is_refused_is_sent_again_with_the_same_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "RETRY_S", (0.0, 0.0))
    monkeypatch.setattr(deliveries, "LOOK_S", 0.01)
    async with receiving() as receiver, alerting() as (s, clock):
        receiver.answers = [500, 503]
        await make(s, metric="count", condition="lt", threshold=1, **webhook(receiver))
        await look(s, clock)
        await until(lambda: len(receiver.posted) == 3)
        assert len({headers["webhook-id"] for headers, _ in receiver.posted}) == 1

        async def delivered() -> bool:
            return bool((await history(s))[0]["delivered"])

        await until_true(delivered)


async def test_a_notice_that_never_arrives_is_given_up_and_the_history_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deliveries, "RETRY_S", (0.0,))
    monkeypatch.setattr(deliveries, "LOOK_S", 0.01)
    async with receiving() as receiver, alerting() as (s, clock):
        receiver.answers = [500, 500]
        made = await make(s, metric="count", condition="lt", threshold=1, **webhook(receiver))
        await look(s, clock)
        await until(lambda: len(receiver.posted) == 2)
        http = s.http(s.admin_key)

        async def given_up() -> bool:
            (last,) = (await http.get(f"/api/observe/alerts/{made['id']}/deliveries")).json()["deliveries"]
            return (last["status"], last["attempts"]) == ("failed", 2)

        await until_true(given_up)
        (row,) = await history(s)
        assert (row["delivered"], row["error"]) == (False, "HTTP 500: ")


@pytest.mark.parametrize(("channel", "field"), [("slack", "text"), ("discord", "content"), ("teams", "attachments")])
async def test_chats_get_their_own_form_and_their_address_is_hidden(channel: str, field: str) -> None:
    async with receiving() as receiver, alerting() as (s, _clock):
        config = {"url": f"{receiver.url}/token?sig=abc"}
        made = await make(s, metric="count", condition="lt", threshold=1, channel=channel, channel_config=config)
        assert "token" not in orjson.dumps(made).decode()
        answer = await s.http(s.admin_key).post(f"/api/observe/alerts/{made['id']}/test")
        assert answer.json() == {"value": 0, "would_fire": True, "delivered": True}
        _, body = receiver.posted[0]
        assert "Test: rule: count is 0 calls" in orjson.dumps(orjson.loads(body)[field]).decode()
        # what was shown may be sent back
        again = await s.http(s.admin_key).put(
            f"/api/observe/alerts/{made['id']}", json={"channel_config": made["channel_config"], "threshold": 5}
        )
        assert again.status_code == 200, again.text
        await s.http(s.admin_key).post(f"/api/observe/alerts/{made['id']}/test")
        assert len(receiver.posted) == 2


async def test_e_mail_is_handed_to_the_mail_server() -> None:
    said: list[str] = []

    async def smtp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail\r\n")
        data = False
        while line := (await reader.readline()).decode():
            said.append(line.strip())
            if data:
                data = line != ".\r\n"
                writer.write(b"" if data else b"250 ok\r\n")
            elif line.upper().startswith("DATA"):
                data = True
                writer.write(b"354 go\r\n")
            else:
                writer.write(b"221 bye\r\n" if line.upper().startswith("QUIT") else b"250 ok\r\n")

    server = await asyncio.start_server(smtp, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = {
        "smtp_host": "127.0.0.1",
        "smtp_port": port,
        "smtp_security": "none",
        "smtp_from": "stockyard@example.com",
    }
    async with alerting(**settings) as (s, _clock):
        made = await make(
            s, metric="count", condition="lt", threshold=1, channel="email", channel_config={"to": "ops@example.com"}
        )
        answer = await s.http(s.admin_key).post(f"/api/observe/alerts/{made['id']}/test")
        assert answer.json()["delivered"] is True, answer.text
    server.close()
    assert "rcpt TO:<ops@example.com>" in said
    assert "Subject: [Stockyard] rule: test" in said


async def test_private_addresses_are_refused_unless_they_are_allowed() -> None:
    async with running({"alertpulse": {}}) as s:
        for url in ("http://example.com/x", "https://127.0.0.1/x", "https://localhost/x", "https://[::1]/x"):
            answer = await s.http(s.admin_key).post(
                "/api/observe/alerts",
                json={
                    "name": "x",
                    "metric": "count",
                    "threshold": 1,
                    "channel": "webhook",
                    "channel_config": {"url": url},
                },
            )
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "blocked_address"), url


async def test_a_secret_that_is_made_is_shown_once_and_kept_sealed() -> None:
    async with alerting() as (s, _clock):
        config = {"url": "https://example.com/hook"}
        made = await make(s, metric="count", threshold=1, channel="webhook", channel_config=config)
        assert made["secret"].startswith("whsec_")
        found = await shown(s, made["id"])
        assert "secret" not in found and found["channel_config"]["secret"] == "…" + made["secret"][-4:]

        def dump(connection: sqlite3.Connection) -> str:
            return repr(connection.execute("SELECT * FROM alerts").fetchall())

        assert made["secret"] not in await s.instance.core.database.read(dump)


async def test_a_new_instance_has_its_first_alerts_once() -> None:
    async with running() as s:
        client = s.http(s.admin_key)
        listed = (await client.get("/api/observe/alerts")).json()
        found = {row["name"]: (row["metric"], row["threshold"], row["window_seconds"]) for row in listed["alerts"]}
        assert found == {
            "Many errors": ("error_rate", 25, 300),
            "Slow answers": ("latency_p95", 30_000, 300),
            "A provider is down": ("provider_down", 0, 300),
        }
        for row in listed["alerts"]:
            assert (await client.delete(f"/api/observe/alerts/{row['id']}")).json() == {
                "status": "deleted",
                "id": row["id"],
            }
        await s.configure({"alertpulse": False})
        await s.configure({"alertpulse": True})
        assert (await client.get("/api/observe/alerts")).json()["total"] == 0


async def test_a_provider_that_is_down_is_noticed() -> None:
    async with alerting() as (s, clock):
        s.mock.script(*[status(500)] * 5)
        for _ in range(5):
            await s.chat()
        await look(s, clock)
        await look(s, clock, 31)
        rows = (await s.http(s.admin_key).get("/api/observe/alerts")).json()["alerts"]
        assert {row["name"]: row["state"] for row in rows}["A provider is down"] == "firing"


async def test_a_value_unlike_the_same_hour_of_other_days_is_noticed() -> None:
    async with alerting() as (s, clock):
        hour = time_ns() // (3600 * 10**9)

        def past(connection: sqlite3.Connection) -> None:
            for day in range(1, 8):
                connection.execute(
                    "INSERT INTO trace_hours VALUES (?, 'up', 'small', 'default', '', '', '1', 120, 0, 0, 0, 0, 0, 0, 0)",
                    (hour - 24 * day,),
                )

        await s.instance.core.writer.write(past)
        made = await make(s, metric="request_rate", times_usual=2, window="1m")
        for _ in range(3):
            await s.chat()
        await look(s, clock)
        assert (await shown(s, made["id"]))["state"] == "ok"
        for _ in range(3):
            await s.chat()
        await look(s, clock)
        assert (await shown(s, made["id"]))["state"] == "firing"
        (row,) = await history(s)
        assert row["threshold"] == 4


async def test_an_alert_that_is_switched_off_is_over() -> None:
    async with alerting() as (s, clock):
        made = await make(s, metric="count", condition="lt", threshold=1)
        await look(s, clock)
        await s.http(s.admin_key).put(f"/api/observe/alerts/{made['id']}", json={"enabled": False})
        await look(s, clock)
        assert (await shown(s, made["id"]))["state"] == "ok"
        assert [row["state"] for row in await history(s)] == ["resolved"]


@pytest.mark.parametrize(
    ("rule", "code", "param"),
    [
        ({"metric": "colour", "threshold": 1}, 422, "metric"),
        ({"metric": "count"}, 422, ""),
        ({"metric": "count", "threshold": 1, "condition": "near"}, 422, "condition"),
        ({"metric": "count", "threshold": 1, "window": "5 m"}, 422, "window"),
        ({"metric": "count", "threshold": 1, "filter": {"shape": "x"}}, 422, "filter"),
        ({"metric": "latency_p95", "times_usual": 2}, 422, "times_usual"),
        ({"metric": "count", "threshold": 1, "channel": "webhook"}, 422, "channel_config.url"),
        (
            {"metric": "count", "threshold": 1, "channel": "email", "channel_config": {"to": "x"}},
            422,
            "channel_config.to",
        ),
        ({"metric": "count", "threshold": 1, "name": "Many errors"}, 409, "name"),
    ],
)
async def test_rules_that_cannot_be_are_refused(rule: dict[str, Any], code: int, param: str) -> None:
    async with running() as s:
        answer = await s.http(s.admin_key).post("/api/observe/alerts", json={"name": "x", **rule})
        assert answer.status_code == code, answer.text
        assert (answer.json()["error"]["param"] or "").startswith(param)
