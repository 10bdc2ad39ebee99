"""agentguard over HTTP: limits of a session, loops, tools that are denied or wait for a person."""

import asyncio
from collections.abc import Sequence
from typing import Any

import openai
import pytest

from instance.chute.modules.safety.agent_steps import goes_round, is_error, says_nothing_new, step_of
from tests.mock_replies import Reply, text, tool, tools
from tests.mock_upstream import until
from tests.modules.conftest import Running, running

PRICES = '[prices."up/small"]\nin_usd_per_mtok = 10000\nout_usd_per_mtok = 10000\n'
SESSIONS = "/api/proxy/modules/agentguard/sessions"
APPROVALS = "/api/proxy/modules/agentguard/approvals"
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {}}}]


def steps(letters: str) -> list[bytes]:
    return [letter.encode() for letter in letters]


@pytest.mark.parametrize("letters", ["AAAA", "BCAAAA", "ABABABAB", "ABCABCABCABC", "XABABABAB"])
def test_what_comes_over_and_over_is_a_loop(letters: str) -> None:
    assert goes_round(steps(letters), 4)


@pytest.mark.parametrize("letters", ["", "AAA", "AAAB", "AABA", "ABABAB", "ABABABAC", "ABCDABCDABCD", "ABCDEFGHIJKL"])
def test_what_changes_is_none(letters: str) -> None:
    assert not goes_round(steps(letters), 4)


def test_arguments_are_compared_by_what_they_say() -> None:
    one = step_of([("look", '{"a": 1, "b": [2]}')])
    assert one == step_of([("look", '{"b":[2],"a":1}')])
    assert one != step_of([("look", '{"a": 1, "b": [3]}')])
    assert one != step_of([("see", '{"a": 1, "b": [2]}')])


@pytest.mark.parametrize(
    "result",
    [
        "Error: no such file",
        "ValueError: invalid literal",
        "openai.RateLimitError: slow down",
        "[ERROR] disk full",
        "Failed to connect",
        "step 1\nTraceback (most recent call last):\n  File ...",
        '{"error": "not found"}',
        '{"success": false}',
        '{"status": "failed"}',
    ],
)
def test_a_result_that_tells_of_a_failure(result: str) -> None:
    assert is_error(result)


@pytest.mark.parametrize("result", ["", "42", "No errors found", '{"error": null, "rows": 3}', '{"ok": true}', "ok"])
def test_a_result_that_does_not(result: str) -> None:
    assert not is_error(result)


def test_turns_that_differ_by_more_than_a_word_are_new() -> None:
    said = "I will look at the file again and then decide what to do with the result of it."
    assert says_nothing_new([said, said, said, said, said.replace("again", "again")])
    assert not says_nothing_new([said] * 4)
    assert not says_nothing_new([*[said] * 4, "The file holds the answer: the meeting is on Monday at nine o'clock."])


class Agent:
    """An agent in a session: it asks, and gives each tool call the same result."""

    def __init__(self, s: Running, session: str = "s1", *, stream: bool = False, results: Sequence[str] = ()) -> None:
        self.s = s
        self.session = session
        self.stream = stream
        self.results = list(results)
        self.messages: list[Any] = [{"role": "user", "content": "find it"}]
        self.said = ""

    async def turn(self) -> list[str]:
        """One call of the model; the names of the tools it called."""
        given: Any = await self.s.sdk().chat.completions.create(
            model=self.s.model,
            messages=self.messages,
            tools=TOOLS,  # type: ignore[arg-type]
            stream=self.stream,
            extra_headers={"X-Stockyard-Session": self.session},
        )
        calls: list[dict[str, Any]] = []
        self.said = ""
        if self.stream:
            async for chunk in given:
                for choice in chunk.choices:
                    self.said += choice.delta.content or ""
                    for part in choice.delta.tool_calls or ():
                        if part.index == len(calls):
                            calls.append({"id": part.id, "name": "", "arguments": ""})
                        calls[part.index]["name"] += part.function.name or ""
                        calls[part.index]["arguments"] += part.function.arguments or ""
        else:
            message = given.choices[0].message
            self.said = message.content or ""
            for call in message.tool_calls or ():
                calls.append({"id": call.id, "name": call.function.name, "arguments": call.function.arguments})
        if calls:
            told = [
                {
                    "id": c["id"],
                    "type": "function",
                    "function": {"name": c["name"], "arguments": c["arguments"]},
                }
                for c in calls
            ]
            self.messages.append({"role": "assistant", "tool_calls": told})
            for call in calls:
                result = self.results.pop(0) if self.results else "nothing there"
                self.messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
        return [call["name"] for call in calls]

    async def refusal(self) -> Any:
        with pytest.raises(openai.APIError) as caught:
            await self.turn()
        return caught.value


async def reset(s: Running) -> None:
    admin = s.http(s.admin_key)
    for row in (await admin.get(SESSIONS, params={"stopped": True})).json()["sessions"]:
        assert (await admin.post(f"{SESSIONS}/{row['id']}/reset")).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_a_loop_is_stopped_others_go_on_and_a_reset_lets_it_go_on(stream: bool) -> None:
    async with running({"agentguard": {"repeat_calls": 3}}) as s:
        s.mock.script(*[tool("look", {"at": "x"}) for _ in range(8)])
        agent = Agent(s, stream=stream)
        for _ in range(3):
            assert await agent.turn() == ["look"]
        error = await agent.refusal()
        assert isinstance(error, openai.RateLimitError)
        assert (error.code, error.body["details"]["reason"]) == ("agent_stopped", "loop")  # type: ignore[index]
        assert error.body["details"]["calls"] == 3  # type: ignore[index]
        assert error.response.headers["x-should-retry"] == "false"
        assert error.response.headers["x-stockyard-module"] == "agentguard"
        assert int(error.response.headers["retry-after"]) == 3600
        assert len(s.mock.calls) == 3
        assert await Agent(s, "other", stream=stream).turn() == ["look"]
        assert (await s.chat()).status_code == 200  # no session: no agent
        await reset(s)
        assert await agent.turn() == ["look"]


async def test_a_cycle_of_two_calls_is_a_loop_and_steps_that_lead_on_are_none() -> None:
    async with running({"agentguard": {"repeat_calls": 3}}) as s:
        s.mock.script(*[tool("look", {"page": number}) for number in range(7)])
        agent = Agent(s)
        for _ in range(7):
            await agent.turn()
        s.mock.script(*[tool("look", {"at": at}) for at in "xyxyxy"])
        other = Agent(s, "other")
        for _ in range(6):
            await other.turn()
        assert (await other.refusal()).code == "agent_stopped"


async def test_a_tool_that_fails_over_and_over_stops_its_agent() -> None:
    async with running({"agentguard": {"repeat_errors": 3}}) as s:
        s.mock.script(*[tool("look", {"page": number}) for number in range(12)])
        agent = Agent(s, results=["Error: gone", "fine", "Error: gone", "Error: other", *["Error: gone"] * 5])
        for _ in range(7):
            await agent.turn()
        error = await agent.refusal()
        assert error.body["details"]["reason"] == "repeat_errors"


async def test_answers_that_say_nothing_new_stop_it() -> None:
    async with running({"agentguard": True}) as s:
        s.mock.script(*[text("I am still thinking about how to go on with the task.") for _ in range(5)])
        agent = Agent(s)
        for _ in range(5):
            await agent.turn()
        assert (await agent.refusal()).body["details"]["reason"] == "nothing_new"
        other = Agent(s, "other")
        for number in range(7):
            s.mock.script(text(f"positive {number}"))
            other.messages = [{"role": "user", "content": f"review {number}: " + "good " * number}]
            await other.turn()


@pytest.mark.parametrize(
    ("limit", "rule"),
    [
        ({"max_calls": 2}, "max_calls"),
        ({"max_tokens": 20}, "max_tokens"),
        ({"max_cost_usd": 0.2}, "max_cost_usd"),
        ({"max_tool_calls": 2}, "max_tool_calls"),
    ],
)
async def test_a_limit_stops_the_session(limit: dict[str, Any], rule: str) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
    async with running({"agentguard": limit}, config=PRICES) as s:
        s.mock.script(*[Reply(tool_calls=[("look", {"page": n})], usage=usage) for n in range(3)])
        agent = Agent(s)
        await agent.turn()
        await agent.turn()
        error = await agent.refusal()
        assert error.body["details"]["reason"] == rule
        assert len(s.mock.calls) == 2
        trace = error.response.headers["x-stockyard-trace-id"]
        (entry, refusal) = await s.trail(trace, "agentguard")
        assert entry[0] == "agent"
        assert (entry[1]["rule"], entry[1]["calls"]) == (rule, 2)
        assert refusal == ("reject", {"code": "agent_stopped"})


async def test_time_and_rest_are_counted_by_the_clock() -> None:
    async with running({"agentguard": {"max_duration_s": 60, "reset_s": 100}}) as s:
        agent = Agent(s)
        await agent.turn()
        (session,) = s.module("agentguard").sessions._sessions.values()
        session.started_ns -= 61 * 10**9
        assert (await agent.refusal()).body["details"]["reason"] == "max_duration_s"
        session.used_ns -= 99 * 10**9
        assert (await agent.refusal()).code == "agent_stopped"
        session.used_ns -= 101 * 10**9
        await agent.turn()


async def test_calls_nested_too_deeply_are_refused() -> None:
    async with running({"agentguard": {"max_depth": 2}}) as s:
        parent = ""
        for expected in (200, 200, 429):
            headers = {"X-Stockyard-Session": "s1", "X-Stockyard-Parent-Id": parent}
            answer = await s.chat(headers=headers)
            assert answer.status_code == expected
            parent = answer.headers["x-stockyard-trace-id"]
        assert answer.json()["error"]["details"]["reason"] == "max_depth"
        assert (await s.chat(headers={"X-Stockyard-Session": "s1"})).status_code == 200


async def test_the_agent_is_told_when_its_budget_is_nearly_used() -> None:
    async with running({"agentguard": {"max_calls": 5, "warn_pct": 80}}) as s:
        for number in range(5):
            answer = await s.chat(f"question {number} " * (number + 1), headers={"X-Stockyard-Session": "s1"})
            assert answer.status_code == 200
        told = [call.json()["messages"][0] for call in s.mock.calls]
        assert [message["role"] for message in told] == ["user"] * 4 + ["system"]
        assert "80% of the calls" in told[4]["content"]


async def test_a_trace_is_a_session_and_a_key_has_its_own() -> None:
    async with running({"agentguard": {"max_calls": 1}}) as s:
        span = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
        assert (await s.chat(headers=span)).status_code == 200
        assert (await s.chat(headers=span)).status_code == 429
        assert (await s.chat(headers={"traceparent": f"00-{'c' * 32}-{'b' * 16}-01"})).status_code == 200
        session = {"X-Stockyard-Session": "s1"}
        assert (await s.chat(headers=session)).status_code == 200
        other = s.http(s.admin_key)
        made = (await other.post("/api/auth/me/keys", json={"name": "two", "kind": "proxy"})).json()
        answer = await s.http(made["key"]).post("/v1/chat/completions", json=s.body(), headers=session)
        assert answer.status_code == 200


async def test_without_a_session_it_is_refused_where_one_is_required() -> None:
    async with running({"agentguard": {"require_session": True}}) as s:
        answer = await s.chat()
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "X-Stockyard-Session")
        assert (await s.chat(headers={"X-Stockyard-Session": "s1"})).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("rules", [{"deny_tools": ["rm*"]}, {"allow_tools": ["look"]}])
async def test_a_denied_tool_never_reaches_the_agent(stream: bool, rules: dict[str, Any]) -> None:
    async with running({"agentguard": rules}) as s:
        s.mock.script(tool("look", {}), tools(("look", {}), ("rm_all", {"path": "/"})), text("done"))
        agent = Agent(s, stream=stream)
        assert await agent.turn() == ["look"]
        error = await agent.refusal()
        assert error.code == "tool_denied"
        if not stream:
            assert isinstance(error, openai.PermissionDeniedError)
        assert len(agent.messages) == 3
        assert await agent.turn() == []
        assert agent.said == "done"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_call_is_held_until_a_person_decides(stream: bool) -> None:
    async with running({"agentguard": {"approve_tools": ["pay"], "approve_wait_s": 20}}) as s:
        admin = s.http(s.admin_key)
        for verb, expected in (("approve", ["pay"]), ("deny", None)):
            s.mock.script(Reply(text="I will pay.", tool_calls=[("pay", {"usd": 5})]))
            agent = Agent(s, verb, stream=stream)
            running_turn = asyncio.ensure_future(agent.turn() if expected else agent.refusal())
            await until(lambda: bool(s.module("agentguard").approvals.rows()))
            (row,) = (await admin.get(APPROVALS)).json()["approvals"]
            assert (row["tool"], "5" in row["arguments"]) == ("pay", True)
            assert not running_turn.done()
            if stream:
                assert agent.said == "I will pay."
            assert (await admin.post(f"{APPROVALS}/{row['id']}/{verb}")).status_code == 200
            got = await running_turn
            assert got == expected if expected else got.code == "tool_denied"
            assert (await admin.post(f"{APPROVALS}/{row['id']}/{verb}")).status_code == 404


async def test_a_tool_call_that_nobody_approves_is_refused_in_time() -> None:
    async with running({"agentguard": {"approve_tools": ["*"], "approve_wait_s": 0.05}}) as s:
        s.mock.script(tool("pay", {}))
        error = await Agent(s).refusal()
        assert (error.status_code, error.body["details"]["reason"]) == (403, "expired")


async def test_the_stop_button_and_a_stop_that_outlives_a_restart() -> None:
    async with running({"agentguard": True}) as s:
        await Agent(s).turn()
        admin = s.http(s.admin_key)
        (row,) = (await admin.get(SESSIONS)).json()["sessions"]
        assert (row["session"], row["calls"], row["state"]) == ("s1", 1, "running")
        assert (await admin.post(f"{SESSIONS}/{row['id']}/stop")).json()["session"]["rule"] == "by_hand"
        await s.configure({"agentguard": False})
        assert (await admin.get(SESSIONS)).status_code == 409
        await s.configure({"agentguard": {"max_calls": 7}})
        assert (await Agent(s).refusal()).body["details"]["reason"] == "by_hand"
        await reset(s)
        await Agent(s).turn()
        assert (await admin.post(f"{SESSIONS}/nobody/stop")).status_code == 404


async def test_what_cannot_be_is_refused_and_counters_survive_a_change() -> None:
    async with running({"agentguard": {"max_calls": 2}}) as s:
        await Agent(s).turn()
        path = "/api/proxy/modules/agentguard"
        bad = await s.http(s.admin_key).put(path, json={"config": {"approve_wait_s": 0}})
        assert (bad.status_code, "approve_wait_s" in bad.json()["error"]["param"]) == (422, True)
        await s.configure({"agentguard": {"max_calls": 1}})
        assert (await Agent(s).refusal()).body["details"]["reason"] == "max_calls"
