"""chatmem over HTTP: what is remembered, for whom, and what is put in."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.mock_replies import chunks, status, text, tool
from tests.modules.conftest import Running, running

NAME = "My name is Ada."


async def _say(s: Running, content: str, session: str = "s1", stream: bool = False, key: str = "", **more: Any) -> str:
    headers = {"x-stockyard-session": session, **more.pop("headers", {})}
    body = {**s.body(content), **more}
    made = await s.sdk(key).chat.completions.create(**body, stream=stream, extra_headers=headers)
    if not stream:
        return made.choices[0].message.content or ""
    return "".join([chunk.choices[0].delta.content or "" async for chunk in made if chunk.choices])


def _sent(s: Running, call: int = -1) -> list[tuple[str, Any]]:
    return [(each["role"], each.get("content")) for each in s.mock.calls[call].json()["messages"]]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_next_call_of_a_session_holds_the_exchange_before_it(stream: bool) -> None:
    async with running({"chatmem": {}}) as s:
        system = {"role": "system", "content": "Be kind."}
        await _say(s, NAME, stream=stream)
        await _say(s, "", messages=[system, {"role": "user", "content": "What is my name?"}], stream=stream)
        assert _sent(s) == [
            ("system", "Be kind."),
            ("user", NAME),
            ("assistant", f"echo: {NAME}"),
            ("user", "What is my name?"),
        ]
        (trace,) = await s.recent_traces(1)
        ((action, detail),) = await s.trail(trace["id"], "chatmem")
        assert (action, detail["injected"]) == ("memory", 2)
        assert detail["tokens"] > 0


@pytest.mark.parametrize("stream", [False, True])
async def test_of_several_answers_the_first_is_remembered_and_each_is_stored(stream: bool) -> None:
    async with running({"chatmem": {}, "llmtap": {"capture_bodies": "full"}}) as s:
        s.mock.script(chunks(["Hello ", "Ada"]))
        await _say(s, NAME, stream=stream, n=2)
        await _say(s, "What is my name?")
        assert _sent(s)[:2] == [("user", NAME), ("assistant", "Hello Ada")]
        _, trace = await s.recent_traces(2)
        choices = trace["response_body"]["choices"]
        assert [(each["index"], each["message"]["content"]) for each in choices] == [(0, "Hello Ada"), (1, "Hello Ada")]


async def test_sessions_are_apart_and_belong_to_their_key() -> None:
    async with running({"chatmem": {}}) as s:
        wanted = {"name": "other", "kind": "proxy"}
        other = (await s.http(s.admin_key).post("/api/auth/me/keys", json=wanted)).json()["key"]
        await _say(s, NAME)
        await _say(s, "Who am I?", "s2")
        assert len(_sent(s)) == 1
        await _say(s, "Who am I?", headers={"x-stockyard-team": "red"})
        assert len(_sent(s)) == 1
        await _say(s, "Who am I?", key=other)
        assert len(_sent(s)) == 1
        await _say(s, "Who am I?")
        assert len(_sent(s)) == 3


async def test_without_a_session_nothing_is_remembered() -> None:
    async with running({"chatmem": {}}) as s:
        await s.chat(NAME)
        await s.chat("Who am I?")
        assert len(_sent(s)) == 1
        await s.chat(NAME, user="u7")
        await s.chat("Who am I?", metadata={"session_id": "m1"})
        assert len(_sent(s)) == 1
        await s.chat("Who am I?", user="u7")
        assert len(_sent(s)) == 3


async def test_a_client_with_its_own_history_gets_no_doubles() -> None:
    async with running({"chatmem": {}}) as s:
        talk: list[dict[str, Any]] = []
        for question in (NAME, "Who am I?", "And you?"):
            talk.append({"role": "user", "content": question})
            talk.append({"role": "assistant", "content": await _say(s, "", messages=list(talk))})
            assert [each[1] for each in _sent(s)] == [each["content"] for each in talk[:-1]]
        again = talk[:3]
        await _say(s, "", messages=again)
        assert len(_sent(s)) == 3
        await _say(s, "Last?")
        assert [each[1] for each in _sent(s)] == [each["content"] for each in talk[:4]] + ["Last?"]


async def test_examples_of_the_callers_own_are_no_history() -> None:
    async with running({"chatmem": {}}) as s:
        await _say(s, NAME)
        shots = [{"role": "user", "content": "2+2"}, {"role": "assistant", "content": "4"}]
        await _say(s, "", messages=[*shots, {"role": "user", "content": "3+3"}])
        assert [each[1] for each in _sent(s)] == [NAME, f"echo: {NAME}", "2+2", "4", "3+3"]


async def test_after_its_time_a_session_is_gone() -> None:
    async with running({"chatmem": {"ttl_s": 1}}) as s:
        await _say(s, NAME)
        session = next(iter(s.instance.memory.sessions._hot.values()))
        session.expires_at_ns = s.instance.core.clock.wall_ns() - 1
        await _say(s, "Who am I?")
        assert len(_sent(s)) == 1


async def test_calls_that_begin_a_session_at_the_same_time_are_one_session() -> None:
    async with running({"chatmem": {}}) as s:
        table = s.instance.core.services["memory"]
        await asyncio.gather(*(_say(s, f"Fact {number}.") for number in range(8)))
        await table.flush()
        await _say(s, "And?")
        await table.flush()
        said = [content for _, content in _sent(s)]
        assert {f"Fact {number}." for number in range(8)} <= set(said)


async def test_a_session_used_again_after_its_time_is_written_anew() -> None:
    async with running({"chatmem": {"ttl_s": 3600}}) as s:
        table = s.instance.core.services["memory"]
        await _say(s, NAME)
        await table.flush()
        for session in [*table._hot.values()]:
            session.expires_at_ns = 1
        await _say(s, "Who am I?")
        assert len(_sent(s)) == 1
        await table.flush()
        await _say(s, "Who am I now?")
        await table.flush()
        assert [content for _, content in _sent(s)] == ["Who am I?", "echo: Who am I?", "Who am I now?"]


async def test_a_session_outlives_a_restart_and_is_bounded() -> None:
    async with running({"chatmem": {"max_sessions": 2}}) as s:
        for number in range(4):
            await _say(s, NAME, f"s{number}")
        await s.module("chatmem").tick()
        s.instance.memory.sessions._hot.clear()
        await _say(s, "Who am I?", "s3")
        assert len(_sent(s)) == 3
        await _say(s, "Who am I?", "s0")
        assert len(_sent(s)) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_call_and_its_result_stay_together(stream: bool) -> None:
    async with running({"chatmem": {"max_messages": 2}}) as s:
        tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
        s.mock.script(tool("look", {"at": "sky"}), text("Blue."))
        await _say(s, "Look!", tools=tools, stream=stream)
        await s.module("chatmem")._sessions.flush()
        stored = next(iter(s.instance.memory.sessions._hot.values())).turns[-1].message
        call = stored["tool_calls"][0]
        assert (call["function"]["name"], call["function"]["arguments"].replace(" ", "")) == ("look", '{"at":"sky"}')
        result = {"role": "tool", "tool_call_id": call["id"], "content": "blue"}
        await _say(s, "", messages=[result], tools=tools)
        assert [role for role, _ in _sent(s)] == ["user", "assistant", "tool"]
        await _say(s, "And now?", tools=tools)
        roles = [role for role, _ in _sent(s)]
        assert roles[0] != "tool"
        assert roles[-1] == "user"


async def test_tokens_takes_the_newest_that_fit() -> None:
    async with running({"chatmem": {"strategy": "tokens", "max_tokens": 60}}) as s:
        for number in range(6):
            await _say(s, f"Question {number} " + "word " * 8)
        await _say(s, "last")
        sent = _sent(s)
        assert 1 < len(sent) < 13
        assert sent[-2][1].startswith("echo: Question 5")


async def test_summary_puts_a_running_note_before_the_newest() -> None:
    async with running({"chatmem": {"strategy": "summary", "max_messages": 2, "summary_model": "up/large"}}) as s:
        await _say(s, NAME)
        await _say(s, "I like tea.")
        s.mock.script(text("The user is Ada."), text("ok"))
        await _say(s, "Who am I?")
        assert s.mock.calls[-2].json()["model"] == "large"
        assert NAME in s.mock.calls[-2].json()["messages"][1]["content"]
        assert _sent(s)[0][0] == "system"
        assert _sent(s)[0][1].endswith("The user is Ada.")
        assert [each[1] for each in _sent(s)[1:]] == ["I like tea.", "echo: I like tea.", "Who am I?"]
        s.mock.script(status(400), text("ok"))
        await _say(s, "And now?")
        assert _sent(s)[0][1].endswith("The user is Ada.")


async def test_recall_brings_the_older_question_that_is_near() -> None:
    async with running({"chatmem": {"strategy": "recall", "max_messages": 2, "recall_k": 1}}) as s:
        await _say(s, "My dog is called Rex and he is a poodle.")
        await _say(s, "The invoice has number 4711.")
        await _say(s, "I live in Vienna.")
        await _say(s, "What is the name of my dog?")
        assert [each[1] for each in _sent(s) if each[0] == "user"] == [
            "My dog is called Rex and he is a poodle.",
            "I live in Vienna.",
            "What is the name of my dog?",
        ]


async def test_only_with_the_header_when_auto_is_off() -> None:
    async with running({"chatmem": {"auto": False}}) as s:
        await _say(s, NAME)
        await _say(s, "Who am I?", headers={"x-stockyard-memory": "on"})
        assert len(_sent(s)) == 1
        await _say(s, "Who am I?", headers={"x-stockyard-memory": "on"})
        assert len(_sent(s)) == 3
        await _say(s, "Who am I?", headers={"x-stockyard-memory": "off"})
        assert len(_sent(s)) == 1
        bad = await s.chat(headers={"x-stockyard-memory": "maybe"})
        assert (bad.status_code, bad.json()["error"]["param"]) == (400, "X-Stockyard-Memory")


async def test_failures_are_forgotten_and_secrets_are_stored_redacted() -> None:
    async with running({"chatmem": {}, "retry": False}) as s:
        s.mock.script(status(400))
        await s.chat("lost", headers={"x-stockyard-session": "s1"})
        await _say(s, "my key is AKIA" + "QZ7X3M5LN2WVB4TD")
        await _say(s, "Who am I?")
        assert "AKIA" not in str(_sent(s)[:2])
        assert len(_sent(s)) == 3


async def test_a_stream_that_its_client_left_is_stored_as_far_as_it_came() -> None:
    async with running({"chatmem": {}}) as s:
        s.mock.script(chunks(["one ", "two ", "three"], piece_delay_s=3.0))
        stream = await s.sdk().chat.completions.create(
            **s.body("Count"), stream=True, extra_headers={"x-stockyard-session": "s1"}
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                break
        await stream.close()
        async with asyncio.timeout(10):
            while not s.instance.memory.sessions._hot:
                await asyncio.sleep(0.02)
        turn = next(iter(s.instance.memory.sessions._hot.values())).turns[-1]
        assert turn.cut
        assert turn.message["content"] == "one "


async def test_people_read_export_pin_and_erase_sessions() -> None:
    async with running({"chatmem": {}}) as s:
        await _say(s, NAME, user="ada")
        await _say(s, "Hi", "s2")
        http = s.http(s.admin_key)
        listed = (await http.get("/api/memory/sessions")).json()
        assert (listed["total"], listed["sessions"][0]["name"]) == (2, "session:s2")
        ident = listed["sessions"][1]["id"]
        one = (await http.get(f"/api/memory/sessions/{ident}")).json()
        assert [each["content"] for each in one["messages"]] == [NAME, f"echo: {NAME}"]
        assert len((await http.get("/api/memory/export")).text.splitlines()) == 2
        assert (await http.put(f"/api/memory/sessions/{ident}", json={"pinned": True})).json()["pinned"] is True
        dry = (await http.post("/api/memory/forget", json={"session_id": "session:s2", "dry_run": True})).json()
        assert (dry["sessions"], dry["messages"]) == (1, 2)
        assert (await http.get("/api/memory/status")).json()["sessions"] == 2
        assert (await http.delete(f"/api/memory/sessions/{ident}")).json()["status"] == "deleted"
        await _say(s, "Who am I?")
        assert len(_sent(s)) == 1
        assert (await http.get(f"/api/memory/sessions/{ident}")).status_code == 404
        assert (await http.post("/api/memory/forget", json={})).status_code == 422
