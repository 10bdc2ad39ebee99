"""trustenforce over HTTP: policies of the Trust app on calls, from the next one on."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.mock_replies import chunks, status, text, tool
from tests.modules.conftest import Running, running

URL = "/api/trust/policies"
CODE = {"name": "codes", "type": "block", "pattern": r"ACME-\d+"}
LEAK = "The code is ACME-4711, keep it."


async def _policy(s: Running, **body: Any) -> dict[str, Any]:
    made = await s.http(s.admin_key).post(URL, json=body)
    assert made.status_code == 201, made.text
    policy: dict[str, Any] = made.json()
    return policy


async def _change(s: Running, policy: dict[str, Any], **body: Any) -> None:
    changed = await s.http(s.admin_key).put(f"{URL}/{policy['id']}", json=body)
    assert changed.status_code == 200, changed.text


async def _ask(s: Running, stream: bool = False, content: str = "hi", **more: Any) -> str:
    completions = s.sdk().chat.completions
    if not stream:
        return (await completions.create(**s.body(content, **more))).choices[0].message.content or ""
    events = await completions.create(**s.body(content, **more), stream=True)
    return "".join([chunk.choices[0].delta.content or "" async for chunk in events if chunk.choices])


async def _streamed_until_error(s: Running) -> tuple[str, str]:
    """What arrived of a stream, and the code of the error that ended it."""
    seen = ""
    with pytest.raises(openai.APIError) as caught:
        async for chunk in await s.sdk().chat.completions.create(**s.body(), stream=True):
            seen += chunk.choices[0].delta.content or ""
    return seen, str(caught.value.code)


async def _violations(s: Running, policy: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await s.http(s.admin_key).get(f"{URL}/{policy['id']}/violations")
    rows: list[dict[str, Any]] = answer.json()["violations"]
    return rows


async def test_a_blocked_answer_is_never_sent_and_an_edit_holds_from_the_next_call() -> None:
    async with running() as s:
        policy = await _policy(s, **CODE)
        s.mock.script(text(LEAK), text(LEAK))
        with pytest.raises(openai.PermissionDeniedError) as caught:
            await _ask(s)
        assert (caught.value.code, "codes" in str(caught.value), "ACME" in str(caught.value)) == (
            "policy_blocked",
            True,
            False,
        )
        seen, code = await _streamed_until_error(s)
        assert (code, "ACME" in seen) == ("policy_blocked", False)
        await _change(s, policy, type="redact", replacement="[code]")
        s.mock.script(text(LEAK), text(LEAK))
        for stream in (False, True):
            assert await _ask(s, stream) == "The code is [code], keep it."
        await _change(s, policy, dry_run=True)
        s.mock.script(text(LEAK), text(LEAK))
        for stream in (False, True):
            assert await _ask(s, stream) == LEAK
        rows = await _violations(s, policy)
        assert [(row["action"], row["dry_run"], row["version"]) for row in rows] == [
            ("redact", True, 3),
            ("redact", True, 3),
            ("redact", False, 2),
            ("redact", False, 2),
            ("block", False, 1),
            ("block", False, 1),
        ]
        entries = (await s.http(s.admin_key).get("/api/trust/ledger?event_type=policy_violation")).json()
        assert entries["total"] == 6
        (listed,) = (await s.http(s.admin_key).get(URL)).json()["policies"]
        assert (listed["hits_24h"], listed["version"]) == (6, 3)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("before", ["", "x" * 250, "word " * 200])
async def test_a_match_is_caught_wherever_the_stream_is_cut(size: int, before: str) -> None:
    said = f"{before}ACME-4711 and ACME-12{' end' * 100}"
    pieces = [said[at : at + size] for at in range(0, len(said), size)]
    async with running() as s:
        policy = await _policy(s, **{**CODE, "type": "redact", "replacement": "#"})
        s.mock.script(chunks(pieces))
        assert await _ask(s, True) == f"{before}# and #{' end' * 100}"
        await _change(s, policy, type="block")
        s.mock.script(chunks(pieces))
        seen, code = await _streamed_until_error(s)
        assert (code, "ACME" in seen, before.startswith(seen)) == ("policy_blocked", False, True)


async def test_what_is_longer_than_a_stream_is_held_back_ends_it_with_an_error() -> None:
    async with running() as s:
        await _policy(s, name="long", type="block", pattern=r"BEGIN(?s:.*)END")
        body = "z" * 2000
        s.mock.script(chunks(["BEGIN", *(body[at : at + 50] for at in range(0, 2000, 50)), "END"]))
        assert (await _streamed_until_error(s))[1] == "policy_blocked"
        s.mock.script(text(f"BEGIN{body}"))
        assert await _ask(s, True) == f"BEGIN{body}"


async def test_words_at_the_edge_of_what_was_sent_are_no_words_of_their_own() -> None:
    said = "x" * 600 + "secret"
    async with running() as s:
        await _policy(s, name="words", type="redact", pattern=r"\bsecret\b", replacement="#")
        s.mock.script(chunks([said[at : at + 5] for at in range(0, len(said), 5)]))
        assert await _ask(s, True) == said


async def test_requests_are_refused_redacted_or_flagged_before_anybody_sees_them() -> None:
    async with running() as s:
        policy = await _policy(s, name="ids", type="redact", pattern=r"ID\d+", target="request", replacement="#")
        answer = await s.chat("use ID12 and ID345")
        assert s.mock.calls[-1].json()["messages"][0]["content"] == "use # and #"
        trace = await s.trace(answer.headers["x-stockyard-trace-id"])
        assert "ID12" not in str(trace["request_body"])
        await _change(s, policy, type="warn", message="no ids, please")
        answer = await s.chat("use ID12")
        assert (answer.status_code, answer.headers["x-stockyard-warnings"]) == (200, "no ids, please")
        await _change(s, policy, type="block")
        count = len(s.mock.calls)
        assert (await s.chat("use ID12")).json()["error"]["code"] == "policy_blocked"
        embedding = {"model": "up/small", "input": ["a", "ID7"]}
        assert (await s.http().post("/v1/embeddings", json=embedding)).status_code == 403
        assert len(s.mock.calls) == count
        await _change(s, policy, enabled=False)
        assert (await s.chat("use ID12")).status_code == 200
        ((action, detail), *_) = await s.trail(answer.headers["x-stockyard-trace-id"], "trustenforce")
        assert (action, detail["version"], detail["condition"]) == ("policy", 2, r"request matches ID\d+")


async def test_tool_arguments_in_answers_are_read_too() -> None:
    async with running() as s:
        await _policy(s, **CODE)
        for stream in (False, True):
            s.mock.script(tool("send", {"text": "ACME-1"}))
            with pytest.raises(openai.APIError):
                await _ask(s, stream)


async def test_models_and_providers_are_limited_also_for_those_that_come_later() -> None:
    async with running({"fallbackrouter": {"chains": [{"match": "up/small", "targets": ["mock/gpt"]}]}}) as s:
        policy = await _policy(s, name="only up", type="block", conditions={"providers": {"globs": ["up"]}})
        refused = await s.chat(model="mock/gpt")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "policy_blocked")

        s.mock.script(*(status(503) for _ in range(4)))
        assert (await s.chat()).status_code >= 500
        await s.http(s.admin_key).delete(f"{URL}/{policy['id']}")
        s.mock.script(*(status(503) for _ in range(4)))
        assert (await s.chat()).headers["x-stockyard-provider"] == "mock"
        await _policy(s, name="no large", type="block", models=["*large"], models_mode="deny")
        assert (await s.chat(model="up/large")).status_code == 403
        assert (await s.chat()).status_code == 200


@pytest.mark.parametrize(
    ("conditions", "bad", "good"),
    [
        ({"max_output_tokens": 100}, {"max_tokens": 101}, {"max_tokens": 100}),
        ({"max_prompt_tokens": 50}, {"content": "word " * 200}, {}),
        (
            {"images": False},
            {"content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]},
            {},
        ),
        (
            {"tools": ["get_*"]},
            {"tools": [{"type": "function", "function": {"name": "drop"}}]},
            {"tools": [{"type": "function", "function": {"name": "get_x"}}]},
        ),
        (
            {"max_cost_usd": 0.01},
            {"model": "mock/gpt", "max_tokens": 1_000_000},
            {"model": "mock/gpt", "max_tokens": 1},
        ),
    ],
)
async def test_each_condition_refuses_what_it_is_about(
    conditions: dict[str, Any], bad: dict[str, Any], good: dict[str, Any]
) -> None:
    prices = '[prices."mock/gpt"]\nin_usd_per_mtok = 100\nout_usd_per_mtok = 100\n'
    async with running(config=prices if "max_cost_usd" in conditions else "") as s:
        await _policy(s, name="it", type="block", conditions=conditions)
        assert (await s.chat(**bad)).status_code == 403
        assert (await s.chat(**good)).status_code == 200


async def test_tags_scopes_and_classes_of_data_decide_whose_calls_a_policy_is_for() -> None:
    async with running() as s:
        await _policy(s, name="tagged", type="block", scope={"models": ["*small"]}, conditions={"required_tag": "cost"})
        assert (await s.chat()).status_code == 403
        assert (await s.chat(headers={"x-stockyard-tags": "cost=7"})).status_code == 200
        assert (await s.chat(model="up/large")).status_code == 200
        secret = {"data_class": ["secret"], "providers": {"mode": "deny", "globs": ["up"]}}
        await _policy(s, name="secret stays", type="block", conditions=secret)
        assert (await s.chat(model="up/large", headers={"x-stockyard-tags": "data_class=secret"})).status_code == 403
        assert (await s.chat(model="up/large", headers={"x-stockyard-tags": "data_class=public"})).status_code == 200


async def test_the_strictest_action_wins_and_all_are_recorded() -> None:
    async with running() as s:
        made = [
            await _policy(s, name=action, type=action, pattern="word", target="request")
            for action in ("log", "block", "redact", "warn")
        ]
        assert (await s.chat("word")).json()["error"]["details"][0]["policy"] == "block"
        assert [len(await _violations(s, policy)) for policy in made] == [1, 1, 1, 1]


async def test_approval_is_refused_where_nobody_can_give_it() -> None:
    async with running() as s:
        await _policy(s, name="ask", type="require_approval", pattern="word", target="request")
        refused = await s.chat("word")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "policy_blocked")
        assert not s.mock.calls


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"name": "x", "type": "block", "pattern": "a(b"}, "bad_pattern", "conditions.patterns.0.pattern"),
        (
            {"name": "x", "type": "block", "rules": [{"field": "request.content", "pattern": "(?<=a)b"}]},
            "bad_pattern",
            "",
        ),
        ({"name": "x", "type": "block"}, "missing_field", "conditions"),
        ({"name": "x", "pattern": "a"}, "missing_field", "type"),
        ({"name": "x", "type": "retention"}, "missing_field", "retention_days"),
        ({"name": "x", "type": "block", "conditions": {"max_tokens": 1}}, "invalid_value", "conditions.max_tokens"),
    ],
)
async def test_what_cannot_be_is_refused_when_it_is_saved(body: dict[str, Any], code: str, param: str) -> None:
    async with running() as s:
        answer = await s.http(s.admin_key).post(URL, json=body)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (422, code)
        assert param in error["param"]


async def test_names_are_unique_and_patterns_bounded_and_a_policy_can_be_tried() -> None:
    async with running({"trustenforce": {"max_patterns": 1}}) as s:
        policy = await _policy(s, **CODE)
        admin = s.http(s.admin_key)
        assert (await admin.post(URL, json={**CODE, "pattern": "b"})).status_code == 409
        assert (await admin.post(URL, json={**CODE, "name": "other"})).status_code == 422
        tried = (await admin.post(f"{URL}/test", json={"id": policy["id"], "text": "a ACME-1 b"})).json()
        assert tried == {"matched": True, "matches": [{"start": 2, "end": 8}], "action": "block", "result": None}
        trial = {"policy": {**CODE, "type": "redact", "replacement": "#"}, "text": "a ACME-1 b"}
        assert (await admin.post(f"{URL}/test", json=trial)).json()["result"] == "a # b"
        s.mock.script(text(LEAK))
        assert (await s.chat()).status_code == 403


async def test_without_a_policy_a_call_goes_past_the_module() -> None:
    async with running() as s:
        assert s.module("trustenforce").hooks() == ()
        policy = await _policy(s, **CODE)
        assert s.module("trustenforce").hooks() == ("on_request", "on_response", "on_delta")
        await s.http(s.admin_key).delete(f"{URL}/{policy['id']}")
        assert s.module("trustenforce").hooks() == ()
