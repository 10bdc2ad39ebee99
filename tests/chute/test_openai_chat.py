"""What is refused before the chain sees it, and which field is named."""

from typing import Any

import orjson
import pytest

from instance.chute.caller import model_allowed, presented_key, take_labels
from instance.chute.exchange import Exchange, Usage
from instance.chute.operations import CHAT
from instance.core.errors import StockyardError
from instance.core.principals import Principal
from instance.core.settings import LimitSettings

GOOD = {"model": "mock/gpt", "messages": [{"role": "user", "content": "hi"}]}


def taken(body: Any, headers: dict[bytes, bytes] | None = None) -> Exchange:
    x = Exchange("tr_1", 0, 0, "/v1/chat/completions", headers or {}, CHAT)
    x.raw = body if isinstance(body, bytes) else orjson.dumps(body)
    CHAT.take(x, LimitSettings(messages=4, tools=2, depth=8))
    return x


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b'{"model": "\xff"}', "invalid_json", None),
        (b'{"model": "\\ud800"}', "invalid_json", None),
        (b"[]", "bad_request", None),
        ({"messages": GOOD["messages"]}, "model_required", "model"),
        ({**GOOD, "model": ""}, "model_required", "model"),
        ({**GOOD, "model": 7}, "bad_request", "model"),
        ({**GOOD, "model": "x" * 300}, "bad_request", "model"),
        ({**GOOD, "model": "mock/gpt\r\nx-injected: 1"}, "bad_request", "model"),
        ({**GOOD, "model": "mock/gp\u00e9"}, "bad_request", "model"),
        ({"model": "m"}, "bad_request", "messages"),
        ({**GOOD, "messages": []}, "bad_request", "messages"),
        ({**GOOD, "messages": "hi"}, "bad_request", "messages"),
        ({**GOOD, "messages": GOOD["messages"] * 5}, "bad_request", "messages"),
        ({**GOOD, "messages": ["hi"]}, "bad_request", "messages[0]"),
        ({**GOOD, "messages": [{"content": "hi"}]}, "bad_request", "messages[0].role"),
        ({**GOOD, "messages": [{"role": "user", "content": 7}]}, "bad_request", "messages[0].content"),
        ({**GOOD, "messages": [{"role": "user", "content": ["hi"]}]}, "bad_request", "messages[0].content"),
        ({**GOOD, "tools": {}}, "bad_request", "tools"),
        ({**GOOD, "tools": [{}] * 3}, "bad_request", "tools"),
        ({**GOOD, "stream": "yes"}, "bad_request", "stream"),
        ({**GOOD, "stream_options": 1}, "bad_request", "stream_options"),
        ({**GOOD, "n": 0}, "bad_request", "n"),
        ({**GOOD, "n": True}, "bad_request", "n"),
        ({**GOOD, "metadata": nested(9)}, "bad_request", None),
    ],
)
def test_a_bad_request_is_refused_with_the_field_that_is_wrong(body: Any, code: str, param: str | None) -> None:
    with pytest.raises(StockyardError) as caught:
        taken(body)
    assert (caught.value.code, caught.value.param, caught.value.status) == (code, param, 400)


def test_a_good_request_is_taken_as_it_is_with_fields_we_do_not_know() -> None:
    body = {
        **GOOD,
        "stream": True,
        "stream_options": {"include_usage": True},
        "n": 2,
        "metadata": nested(5),
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": None},
        ],
        "new_field": {"a": 1},
    }
    x = taken(body)
    assert x.req == body
    assert (x.stream, x.usage_asked, x.changed, x.model_requested) == (True, True, False, "mock/gpt")


def test_a_header_names_the_model_instead_of_the_body() -> None:
    x = taken(GOOD, {b"x-stockyard-model": b"openai/gpt-4o"})
    assert (x.req["model"], x.model_requested, x.changed) == ("openai/gpt-4o", "openai/gpt-4o", True)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "unauthorized"),
        ({b"authorization": b"Basic abc"}, "unauthorized"),
        ({b"authorization": b"Bearer "}, "unauthorized"),
        ({b"authorization": b"Bearer a\xff"}, "unauthorized"),
        ({b"authorization": b"Bearer " + b"a" * 600}, "unauthorized"),
        ({b"authorization": b"Bearer a", b"x-api-key": b"b"}, "bad_request"),
        ({b"x-api-key": b"a", b"api-key": b"b"}, "bad_request"),
    ],
)
def test_a_missing_malformed_or_double_key_is_refused(headers: dict[bytes, bytes], code: str) -> None:
    with pytest.raises(StockyardError) as caught:
        presented_key(headers)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "headers",
    [
        {b"authorization": b"Bearer k"},
        {b"authorization": b"bearer  k"},
        {b"x-api-key": b"k"},
        {b"api-key": b"k"},
        {b"authorization": b"Bearer k", b"x-api-key": b"k"},
        {b"authorization": b"Bearer sk-proj-other", b"x-stockyard-key": b"k"},
    ],
)
def test_a_key_is_found_in_each_header_that_clients_use(headers: dict[bytes, bytes]) -> None:
    assert presented_key(headers) == "k"


def labelled(headers: dict[bytes, bytes], team: str = "") -> Exchange:
    x = Exchange("tr_1", 0, 0, "/v1/chat/completions", headers, CHAT)
    x.principal = Principal(key_id=1, kind="proxy", scopes=frozenset(("proxy:call",)), team=team)
    take_labels(x)
    return x


def test_headers_label_the_call_by_both_spellings() -> None:
    x = labelled(
        {
            b"x-agent-session": b"s1",
            b"x-user-id": b"ann",
            b"x-project": b"web",
            b"x-stockyard-team": b"blue",
            b"x-stockyard-tags": b"env=prod, area=search",
            b"x-feature": b"chat",
            b"x-trace-id": b"abc:1",
        }
    )
    assert (x.session, x.user, x.project, x.team, x.request_id) == ("s1", "ann", "web", "blue", "abc:1")
    assert x.tags == {"env": "prod", "area": "search", "feature": "chat"}


def test_a_team_header_never_replaces_the_keys_own_team() -> None:
    assert labelled({b"x-stockyard-team": b"blue"}, team="red").team == "red"


def test_an_unknown_header_of_ours_is_named_with_the_nearest() -> None:
    x = labelled({b"x-stockyard-sesion": b"s1"})
    assert x.warnings == ["unknown header X-Stockyard-sesion, did you mean X-Stockyard-session?"]


@pytest.mark.parametrize(
    "headers",
    [{b"x-stockyard-request-id": b"a b"}, {b"x-stockyard-tags": b"novalue"}, {b"x-stockyard-tags": b"k=" + b"v" * 200}],
)
def test_a_bad_header_is_refused_by_name(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(StockyardError) as caught:
        labelled(headers)
    assert caught.value.param is not None
    assert caught.value.param.lower().encode() in headers


def test_a_key_may_be_narrowed_to_models() -> None:
    principal = Principal(key_id=1, kind="proxy", scopes=frozenset(("proxy:call",)), models=("gpt-4*", "mock/*"))
    model_allowed(principal, "gpt-4o")
    with pytest.raises(StockyardError) as caught:
        model_allowed(principal, "claude-3")
    assert caught.value.code == "forbidden"


@pytest.mark.parametrize(
    "usage",
    [None, 7, {"prompt_tokens": -1}, {"prompt_tokens": 2**63}, {"prompt_tokens": "9"}, {"prompt_tokens_details": 3}],
)
def test_usage_that_no_provider_can_mean_counts_nothing(usage: Any) -> None:
    taken_usage = Usage()
    taken_usage.take(usage)
    assert (taken_usage.input, taken_usage.output, taken_usage.cached) == (0, 0, 0)
