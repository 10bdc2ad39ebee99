"""What is told of an alert: the notice, its signature, and its form on each channel."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import orjson

from instance.core.timestamps import rfc3339
from instance.lookout.alerts.rule import SIGNS, UNITS, Rule

EVENTS = {"fired": "alert.fired", "again": "alert.fired", "resolved": "alert.resolved", "test": "alert.test"}


def shown_value(value: float) -> str:
    """A value for people."""
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"


def message(rule: Rule, change: str, value: float | None, threshold: float) -> str:
    """One sentence for people."""
    unit = UNITS[rule.metric]
    now = f"{shown_value(value)} {unit}" if value is not None else "without data"
    where = "".join(f", {name} {wanted}" for name, wanted in sorted(rule.filter.items()))
    limit = f"{SIGNS[rule.condition]} {shown_value(threshold)}"
    if change == "resolved":
        return f"Resolved: {rule.name}: {rule.metric} is {now} (alert at {limit}) over {rule.window_seconds} s{where}."
    begins = {"fired": "Firing", "again": "Still firing", "test": "Test"}[change]
    return f"{begins}: {rule.name}: {rule.metric} is {now}, {limit}, over {rule.window_seconds} s{where}."


def notice(
    rule: Rule, change: str, value: float | None, threshold: float, peak: float, trace_ids: list[str], now_ns: int
) -> dict[str, Any]:
    """The `data` of a notice, as JSON values."""
    return {
        "alert_id": rule.id,
        "name": rule.name,
        "state": {"fired": "firing", "again": "firing"}.get(change, change),
        "repeated": change == "again",
        "severity": rule.severity,
        "metric": rule.metric,
        "unit": UNITS[rule.metric],
        "value": value,
        "condition": rule.condition,
        "threshold": threshold,
        "peak": peak,
        "window_seconds": rule.window_seconds,
        "filter": dict(rule.filter),
        "trace_ids": trace_ids,
        "message": message(rule, change, value, threshold),
        "at": rfc3339(now_ns),
    }


def body(channel: str, delivery_id: str, event: str, data: dict[str, Any], instance: str, now_ns: int) -> bytes:
    """What is posted to a webhook, or to a chat's address, in its form."""
    text: str = data["message"]
    if channel == "slack":
        return orjson.dumps({"text": text})
    if channel == "discord":
        return orjson.dumps({"content": text[:2000], "allowed_mentions": {"parse": []}})
    if channel == "teams":
        card = {"type": "AdaptiveCard", "version": "1.4", "body": [{"type": "TextBlock", "text": text, "wrap": True}]}
        attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
        return orjson.dumps({"type": "message", "attachments": [attachment]})
    return orjson.dumps(
        {"id": delivery_id, "type": event, "timestamp": rfc3339(now_ns), "data": data, "instance": instance}
    )


def signatures(secret: str, delivery_id: str, event: str, sent_s: int, posted: bytes) -> list[tuple[bytes, bytes]]:
    """The headers by which a receiver knows who sent it: ours, and the set of https://www.standardwebhooks.com."""
    key = secret.encode()
    own = hmac.new(key, posted, hashlib.sha256).hexdigest()
    dated = hmac.new(key, f"{delivery_id}.{sent_s}.".encode() + posted, hashlib.sha256).digest()
    return [
        (b"x-stockyard-event", event.encode()),
        (b"x-stockyard-signature", f"sha256={own}".encode()),
        (b"webhook-id", delivery_id.encode()),
        (b"webhook-timestamp", b"%d" % sent_s),
        (b"webhook-signature", b"v1," + base64.b64encode(dated)),
    ]
