"""What a caller may say about caches, whose answers are shared with whom, and how a kept answer is given again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import orjson

from instance.chute.answer import JSON, Answer
from instance.chute.modules.caching.stream_replay import replay
from instance.core.errors import StockyardError
from instance.core.principals import CLIENT_TEAM

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange
    from instance.chute.modules.caching.answer_store import Entry
    from instance.core.clock import Clock

Scope = Literal["global", "team", "key", "user"]
MODE_HEADER = b"x-stockyard-cache"
CONTROL_HEADER = b"cache-control"
MODES = {b"skip": "skip", b"refresh": "refresh", b"only": "only"}
SECOND_NS = 1_000_000_000
CHANGES_NO_ANSWER = frozenset(
    ("stream", "stream_options", "user", "metadata", "store", "safety_identifier", "prompt_cache_key")
)


def asked_mode(x: Exchange) -> str:
    """What `X-Stockyard-Cache` and `Cache-Control: no-store` ask for: skip, refresh, only, or nothing. Raises `bad_request`."""
    headers = x.headers
    if MODE_HEADER not in headers and CONTROL_HEADER not in headers:
        return ""
    mode = ""
    asked = headers.get(MODE_HEADER)
    if asked is not None:
        mode = MODES.get(asked.strip().lower(), "")
        if not mode:
            raise StockyardError("bad_request", "It is one of skip, refresh, only.", param="X-Stockyard-Cache")
    control = headers.get(CONTROL_HEADER)
    return "skip" if control is not None and b"no-store" in control.lower() and mode != "only" else mode


def canonical(x: Exchange, scope: Scope, req: JSON) -> bytes:
    """All of a call with this request that can change its answer, and whom it is shared with, as sorted JSON."""
    if not CHANGES_NO_ANSWER.isdisjoint(req):
        req = {name: value for name, value in req.items() if name not in CHANGES_NO_ANSWER}
    targets = x.targets
    within = x.team if scope == "team" and not x.client else whose(x, scope)
    form = (x.kind, scope, within, targets[0].label if targets else "", req)
    return orjson.dumps(form, option=orjson.OPT_SORT_KEYS)


def whose(x: Exchange, scope: Scope) -> str:
    """With whom the call shares answers: those of the scope, and never with another client."""
    within = _sharers(x, scope)
    return f"{CLIENT_TEAM}{x.client}\0{within}" if x.client else within


def _sharers(x: Exchange, scope: Scope) -> str:
    if scope == "team":
        return x.team
    if scope == "user":
        return x.user
    if scope == "key" and x.principal is not None:
        return str(x.principal.key_id)
    return ""


def given_again(x: Exchange, entry: Entry, clock: Clock, tokens_per_s: int = 0) -> Answer:
    """A kept answer for this call, whole or as a stream, with its age; what it cost is saved."""
    age_s = max(0, clock.wall_ns() - entry.created_ns) // SECOND_NS
    x.saved_nano = entry.cost_nano
    x.response_headers.append((b"age", b"%d" % age_s))
    obj: JSON = orjson.loads(entry.body)
    usage = obj.get("usage")
    if usage:
        x.usage.take(usage)
    if x.stream:
        return Answer(events=replay(obj, clock, tokens_per_s))
    return Answer(body=entry.body, obj=obj)
