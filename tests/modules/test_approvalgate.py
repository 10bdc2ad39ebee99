"""approvalgate over HTTP: tickets, votes, waiting, and what is approved for good."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import httpx2
import openai
import pytest

from instance.chute.modules.studio.approvalgate import ApprovalGate
from tests.modules.conftest import Running, running
from tests.modules.exchanges import exchange
from tests.waiting import until

URL = "/api/trust/approvals"
PRICES = '[prices."up/small"]\nin_usd_per_mtok = 100\nout_usd_per_mtok = 100\n'
DEAR = {"rules": [{"name": "dear", "when": {"min_cost_usd": 1.0}}]}
ASK = {"max_tokens": 20_000}
ANY = {"rules": [{"name": "any", "when": {"models": ["*"]}}]}


async def _key(s: Running, scope: str, kind: str = "admin") -> str:
    made = await s.http(s.admin_key).post(
        "/api/auth/me/keys", json={"name": f"with {scope}", "kind": kind, "scopes": [scope]}
    )
    assert made.status_code == 201, made.text
    made_key: str = made.json()["key"]
    return made_key


async def _ask(s: Running, ticket: str = "", content: str = "hi", key: str = "", **more: Any) -> httpx2.Response:
    headers = {"x-stockyard-approval": ticket} if ticket else {}
    return await s.http(key).post("/v1/chat/completions", json=s.body(content, **{**ASK, **more}), headers=headers)


def _ticket(refused: httpx2.Response) -> str:
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (403, "approval_required"), refused.text
    ticket: str = error["details"]["ticket"]
    assert ticket in error["message"] and error["details"]["console"] in error["message"]
    return ticket


async def _vote(
    s: Running, ticket: str, key: str = "", decision: str = "approve", comment: str = ""
) -> httpx2.Response:
    return await s.http(key or s.admin_key).post(f"{URL}/{ticket}/{decision}", json={"comment": comment})


async def test_a_ticket_lets_the_very_same_call_pass_once() -> None:
    async with running({"approvalgate": DEAR}, config=PRICES) as s:
        assert (await _ask(s, max_tokens=10)).status_code == 200
        ticket = _ticket(await _ask(s))
        assert _ticket(await _ask(s)) == ticket
        assert _ticket(await _ask(s, ticket)) == ticket
        assert (await _vote(s, ticket, comment="fine")).json()["status"] == "approved"
        changed = await _ask(s, ticket, content="something else")
        assert (changed.status_code, changed.json()["error"]["code"]) == (409, "approval_mismatch")
        assert len(s.mock.calls) == 1
        passed = await _ask(s, ticket)
        assert passed.status_code == 200
        ((_, detail),) = await s.trail(passed.headers["x-stockyard-trace-id"], "approvalgate")
        assert (detail["rule"], detail["ticket"]) == ("dear", ticket)
        assert _ticket(await _ask(s, ticket)) != ticket
        assert len(s.mock.calls) == 2
        entries = (await s.http(s.admin_key).get("/api/trust/ledger", params={"resource": f"approval:{ticket}"})).json()
        assert entries["events"][0]["detail"]["comment"] == "fine"


async def test_of_two_calls_at_once_one_passes_on_a_ticket() -> None:
    async with running({"approvalgate": ANY}) as s:
        ticket = _ticket(await _ask(s))
        await _vote(s, ticket)
        answers = await asyncio.gather(*(_ask(s, ticket) for _ in range(4)))
        assert sorted(answer.status_code for answer in answers) == [200, 403, 403, 403]
        assert len(s.mock.calls) == 1


async def test_nobody_approves_a_call_of_their_own_and_another_key_cannot_use_the_ticket() -> None:
    async with running({"approvalgate": ANY}) as s:
        other = await _key(s, "admin")
        ticket = _ticket(await _ask(s, key=other))
        own = await _vote(s, ticket, other)
        assert (own.status_code, own.json()["error"]["code"]) == (403, "not_an_approver")
        assert (await _vote(s, ticket)).status_code == 200
        assert (await _ask(s, ticket)).status_code == 409
        assert (await _ask(s, ticket, key=other)).status_code == 200
        await s.configure({"approvalgate": {**ANY, "four_eyes": False}})
        ticket = _ticket(await _ask(s, key=other, content="again"))
        assert (await _vote(s, ticket, other)).status_code == 200


async def test_so_many_votes_of_those_who_may_are_needed_and_one_no_decides() -> None:
    rule = {"name": "two", "when": {"models": ["*"]}, "needed": 2, "approvers": ["admin"]}
    async with running({"approvalgate": {"rules": [rule]}}) as s:
        second, clerk = await _key(s, "admin"), await _key(s, "trust:write", kind="app")
        ticket = _ticket(await _ask(s))
        assert (await _vote(s, ticket, clerk)).status_code == 403
        assert (await _vote(s, ticket)).json()["status"] == "pending"
        assert (await _vote(s, ticket)).status_code == 409
        _ticket(await _ask(s, ticket))
        assert (await _vote(s, ticket, second)).json()["status"] == "approved"
        assert (await _ask(s, ticket)).status_code == 200
        ticket = _ticket(await _ask(s, content="other"))
        await _vote(s, ticket, decision="deny", comment="too risky")
        denied = await _ask(s, ticket, content="other")
        assert (denied.status_code, denied.json()["error"]["code"]) == (403, "approval_denied")
        assert "too risky" in denied.json()["error"]["message"]
        assert (await s.http(s.admin_key).get(URL, params={"status": "denied"})).json()["approvals"][0]["id"] == ticket
        assert (await s.http().get(URL)).status_code == 403


async def _pending(s: Running) -> str:
    found: list[str] = []

    async def there() -> bool:
        rows = (await s.http(s.admin_key).get(URL, params={"status": "pending"})).json()["approvals"]
        found[:] = [row["id"] for row in rows]
        return bool(found)

    await until(there)
    return found[0]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_waits_goes_on_when_it_is_approved_and_fails_when_not(stream: bool) -> None:
    async def ask(s: Running) -> str:
        completions = s.sdk().chat.completions
        if not stream:
            return (await completions.create(**s.body())).choices[0].message.content or ""
        events = await completions.create(**s.body(), stream=True)
        return "".join([event.choices[0].delta.content or "" async for event in events if event.choices])

    async with running({"approvalgate": {**ANY, "mode": "wait", "wait_s": 20}}) as s:
        for decision in ("approve", "deny"):
            waiting = asyncio.create_task(ask(s))
            ticket = await _pending(s)
            calls = len(s.mock.calls)
            await _vote(s, ticket, decision=decision, comment="no")
            if decision == "approve":
                assert await waiting == "echo: hi"
                assert len(s.mock.calls) == calls + 1
            else:
                with pytest.raises(openai.APIError) as caught:
                    await waiting
                assert caught.value.code == "approval_denied"
                assert len(s.mock.calls) == calls


@pytest.mark.parametrize(("on_timeout", "status"), [("reject", 403), ("allow", 200)])
async def test_a_call_that_nobody_decides_on(on_timeout: str, status: int) -> None:
    async with running({"approvalgate": {**ANY, "mode": "wait", "wait_s": 0.05, "on_timeout": on_timeout}}) as s:
        answer = await s.chat()
        assert answer.status_code == status
        assert len(s.mock.calls) == (status == 200)


@pytest.mark.parametrize("when", ["first_use", "new_system"])
async def test_what_is_new_is_approved_once_for_good(when: str) -> None:
    system = [{"role": "system", "content": "Be brief."}]
    async with running({"approvalgate": {"rules": [{"name": when, "when": {when: True}}]}}) as s:

        async def ask(content: str, ticket: str = "") -> httpx2.Response:
            messages = [*(system if when == "new_system" else []), {"role": "user", "content": content}]
            headers = {"x-stockyard-approval": ticket} if ticket else {}
            return await s.http().post("/v1/chat/completions", json={**s.body(), "messages": messages}, headers=headers)

        ticket = _ticket(await ask("one"))
        await _vote(s, ticket)
        assert (await ask("two")).status_code == 200
        system[0]["content"] = "Be long."
        fresh = await (s.chat(model="up/large") if when == "first_use" else ask("three"))
        assert _ticket(fresh) != ticket


async def test_rules_on_tags_teams_tools_and_faults_of_the_prompt() -> None:
    rules = [
        {"name": "tag", "when": {"tag": "risk=high"}},
        {"name": "team", "when": {"teams": ["ops*"]}},
        {"name": "tool", "when": {"tools": ["delete_*"]}},
        {"name": "lint", "when": {"lint_errors": True}},
    ]
    lint = {"rules": {"unfilled_placeholder": "error"}}
    async with running({"approvalgate": {"rules": rules}, "promptlint": lint}) as s:
        assert (await s.chat()).status_code == 200
        tool = {"type": "function", "function": {"name": "delete_all"}}
        for name, refused in (
            ("tag", await s.chat(headers={"x-stockyard-tags": "risk=high"})),
            ("team", await s.chat(headers={"x-stockyard-team": "ops-1"})),
            ("tool", await s.chat(tools=[tool])),
            (
                "lint",
                await s.chat(messages=[{"role": "system", "content": "You are {{name}}."}, *s.body()["messages"]]),
            ),
        ):
            assert refused.json()["error"]["details"]["rule"] == name


async def test_a_policy_hands_over_to_the_gate() -> None:
    async with running({"approvalgate": {"prompt_changes": False}}) as s:
        assert s.module("approvalgate").hooks() == ()
        policy = {"name": "ask", "type": "require_approval", "pattern": "word", "target": "request"}
        assert (await s.http(s.admin_key).post("/api/trust/policies", json=policy)).status_code == 201
        ticket = _ticket(await _ask(s, content="a word"))
        await _vote(s, ticket)
        assert (await _ask(s, ticket, content="a word")).status_code == 200
        assert (await _ask(s, content="nothing")).status_code == 200


async def test_old_tickets_go_and_what_they_approved_stays() -> None:
    rules = {"rules": [{"name": "new", "when": {"first_use": True}}]}
    async with running({"approvalgate": rules}) as s:
        ticket = _ticket(await _ask(s))
        await _vote(s, ticket)
        year_ns = 366 * 86_400 * 10**9
        await s.instance.core.writer.write(
            lambda connection: connection.execute("UPDATE approvals SET created_at_ns = created_at_ns - ?", (year_ns,))
        )
        await s.module("approvalgate").tick()
        assert (await s.http(s.admin_key).get(f"{URL}/{ticket}")).status_code == 404
        assert (await _ask(s)).status_code == 200


@pytest.mark.parametrize("rule", [{"name": "x", "when": {}}, {"name": "x", "when": {"tag": "a"}, "needed": 0}])
async def test_rules_that_cannot_be_are_refused_when_they_are_saved(rule: dict[str, Any]) -> None:
    async with running({"approvalgate": ANY}) as s:
        answer = await s.http(s.admin_key).put("/api/proxy/modules/approvalgate", json={"config": {"rules": [rule]}})
        assert answer.status_code == 422
        assert "rules" in answer.json()["error"]["param"]
        _ticket(await _ask(s))


async def _greeting(s: Running, reference: str) -> httpx2.Response:
    return await s.http().post("/v1/chat/completions", json={"_template": reference, "messages": []})


async def test_a_changed_prompt_is_approved_once_for_the_label_that_it_serves() -> None:
    greet = {"slug": "greet", "model": "up/small", "messages": [{"role": "user", "content": "Greet."}]}
    async with running({"approvalgate": True}) as s:
        admin = s.http(s.admin_key)
        assert (await admin.post("/api/studio/templates", json=greet)).status_code == 201
        assert (await admin.put("/api/studio/templates/greet/labels/production", json={"version": 1})).is_success
        assert (await s.chat()).status_code == 200, "a call without a stored prompt is not asked"
        refused = await _greeting(s, "greet@production")
        ticket = _ticket(refused)
        assert refused.json()["error"]["details"]["rule"] == "prompt greet@1 as production"
        assert (await _vote(s, ticket)).json()["status"] == "approved"
        for _ in range(2):
            assert (await _greeting(s, "greet@production")).status_code == 200
        changed = {"model": "up/small", "messages": [{"role": "user", "content": "Greet in French."}]}
        assert (await admin.post("/api/studio/templates/greet/versions", json=changed)).is_success
        assert (await admin.put("/api/studio/templates/greet/labels/production", json={"version": 2})).is_success
        _ticket(await _greeting(s, "greet@production"))
        assert (await _greeting(s, "greet@2")).status_code == 200, "who names a version has chosen it"
        await s.configure({"approvalgate": {"prompt_changes": False}})
        assert (await _greeting(s, "greet@production")).status_code == 200


async def test_approvers_are_told_by_an_alert_on_what_waits() -> None:
    async with running({"approvalgate": ANY, "alertpulse": {"for_s": 0}}) as s:
        client = s.http(s.admin_key)
        rule = {"name": "somebody waits", "metric": "approvals_waiting", "threshold": 0}
        made = (await client.post("/api/observe/alerts", json=rule)).json()
        ticket = _ticket(await _ask(s))
        await s.module("alertpulse").tick()
        assert (await client.get(f"/api/observe/alerts/{made['id']}")).json()["state"] == "firing"
        await _vote(s, ticket)
        await s.module("alertpulse").tick()
        assert (await client.get(f"/api/observe/alerts/{made['id']}")).json()["state"] == "ok"


def test_without_rules_only_calls_of_stored_prompts_are_looked_at() -> None:
    module = ApprovalGate(ApprovalGate.Settings())
    module._approvals = SimpleNamespace(approved_before=lambda remembers: remembers.endswith("@2:live"))  # type: ignore[assignment]
    assert module.passes(exchange())
    assert module.passes(exchange(state={"prompt": ("greeting", 2, "live")}))
    assert not module.passes(exchange(state={"prompt": ("greeting", 3, "live")}))
