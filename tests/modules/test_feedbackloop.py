"""feedbackloop over HTTP: who may judge which answer, where it shows, and what it does."""

from __future__ import annotations

from typing import Any

import httpx2
import orjson
import pytest

from instance.brand.feedback import Feedback
from tests.mock_replies import text
from tests.modules.conftest import Running, running
from tests.waiting import until

URL = "/api/trust/feedback"


async def _rate(s: Running, key: str = "", **body: Any) -> httpx2.Response:
    return await s.http(key).post(URL, json=body)


async def _ask(s: Running, content: str = "hi") -> str:
    """The trace id of a call."""
    answer = await s.chat(content)
    assert answer.status_code == 200
    trace_id: str = answer.headers["x-stockyard-trace-id"]
    return trace_id


async def _answered(s: Running) -> str:
    """The id of an answer."""
    return str((await s.sdk().chat.completions.create(**s.body())).id)


async def _streamed(s: Running) -> str:
    stream = await s.sdk().chat.completions.create(**s.body(), stream=True)
    (found,) = {chunk.id async for chunk in stream}
    return str(found)


async def _other_key(s: Running) -> str:
    made = await s.http(s.admin_key).post("/api/auth/me/keys", json={"name": "other", "scopes": ["proxy:call"]})
    assert made.status_code == 201, made.text
    key: str = made.json()["key"]
    return key


@pytest.mark.parametrize("stream", [False, True])
async def test_a_rated_answer_shows_on_its_trace_and_in_its_models_rate(stream: bool) -> None:
    async with running() as s:
        answer_id = await (_streamed(s) if stream else _answered(s))
        rated = await _rate(s, request_id=answer_id, rating=1, tags=["kind"], comment="good")
        assert rated.status_code == 201, rated.text
        trace = await s.trace(rated.json()["trace_id"])
        assert (trace["answer_id"], trace["rating"]) == (answer_id, 1.0)
        admin = s.http(s.admin_key)
        (row,) = (await admin.get(f"{URL}/summary")).json()["models"]
        assert (row["model"], row["count"], row["positive_share"]) == ("small", 1, 1.0)
        (listed,) = (await admin.get(URL, params={"request_id": answer_id})).json()["feedback"]
        assert (listed["comment"], listed["tags"], listed["rating"]) == ("good", ["kind"], 1)


async def test_only_the_key_that_asked_may_judge() -> None:
    async with running() as s:
        trace_id = await _ask(s)
        refused = await _rate(s, await _other_key(s), trace_id=trace_id, rating=1)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_yours")
        unknown = await _rate(s, request_id="chatcmpl-nobody", rating=1)
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_id")
        assert (await _rate(s, s.admin_key, trace_id=trace_id, rating=1)).status_code == 201
        for bad in ({"rating": 2}, {"rating": 0, "scale": 5}, {"rating": 1, "comment": "x" * 2001}):
            assert (await _rate(s, trace_id=trace_id, **bad)).status_code == 422


async def test_a_later_judgement_replaces_the_earlier_one_or_is_refused() -> None:
    async with running() as s:
        trace_id = await _ask(s)
        for rating, stars in ((5, 1.0), (1, -1.0)):
            rated = await _rate(s, trace_id=trace_id, rating=rating, scale=5)
            assert (await s.trace(rated.json()["trace_id"]))["rating"] == stars
        await s.configure({"feedbackloop": {"one_per_user": False}})
        assert (await _rate(s, trace_id=trace_id, rating=1)).status_code == 409
        other = await _rate(s, trace_id=trace_id, rating=1, user_email="ana@example.com")
        assert other.status_code == 201
        assert (await s.trace(other.json()["trace_id"]))["rating"] == 0.0


@pytest.mark.parametrize("cache", ["cachelayer", "semanticcache"])
async def test_an_answer_that_was_judged_bad_is_not_given_again(cache: str) -> None:
    async with running({cache: {}}) as s:
        question = "What is the capital of France?"
        trace_id = await _ask(s, question)
        await _ask(s, question)
        await _rate(s, trace_id=trace_id, rating=1)
        await _ask(s, question)
        assert len(s.mock.calls) == 1
        assert (await _rate(s, trace_id=trace_id, rating=-1)).status_code == 201
        await _ask(s, question)
        assert len(s.mock.calls) == 2


async def test_good_answers_and_corrections_are_exported_as_chats() -> None:
    async with running() as s:
        s.mock.script(text("Paris"), text("London"))
        good, bad = await _ask(s, "capital of France?"), await _ask(s, "capital of Italy?")
        await _rate(s, trace_id=good, rating=1)
        await _rate(s, trace_id=bad, rating=-1, correction="Rome")
        admin = s.http(s.admin_key)
        for kind, question, answer in (
            ("good", "capital of France?", "Paris"),
            ("corrections", "capital of Italy?", "Rome"),
        ):
            exported = await admin.get(f"{URL}/export", params={"kind": kind})
            (line,) = exported.content.splitlines()
            assert orjson.loads(line) == {
                "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            }
        assert (await s.http().get(f"{URL}/export")).status_code == 403


async def test_what_was_judged_bad_waits_for_review() -> None:
    async with running() as s:
        await _rate(s, trace_id=await _ask(s), rating=1)
        made = (await _rate(s, trace_id=await _ask(s), rating=-1)).json()["id"]
        admin = s.http(s.admin_key)
        (row,) = (await admin.get(URL, params={"review": "open"})).json()["feedback"]
        assert row["id"] == made
        done = await admin.put(f"{URL}/{made}", json={"review": "done", "note": "the prompt was wrong"})
        assert done.status_code == 200
        assert not (await admin.get(URL, params={"review": "open"})).json()["feedback"]
        (row,) = (await admin.get(URL, params={"review": "done"})).json()["feedback"]
        assert row["note"] == "the prompt was wrong"


async def test_a_token_judges_its_call_once_without_a_key() -> None:
    async with running({"feedbackloop": {"tokens": True}}) as s:
        asked = await s.chat(headers={"x-stockyard-feedback": "token"})
        assert "x-stockyard-feedback-token" not in (await s.chat()).headers
        token = asked.headers["x-stockyard-feedback-token"]
        assert "x-stockyard-warnings" not in asked.headers
        async with httpx2.AsyncClient(base_url=s.root) as nobody:

            async def judge(presented: str, rating: int) -> httpx2.Response:
                headers = {"x-stockyard-feedback-token": presented}
                return await nobody.post(URL, json={"rating": rating}, headers=headers)

            first = await judge(token, 1)
            assert (first.status_code, first.json()["trace_id"]) == (201, asked.headers["x-stockyard-trace-id"])
            assert (await judge(token, -1)).status_code == 409
            forged = token[:-2] + ("00" if token[-2:] != "00" else "11")
            assert (await judge(forged, -1)).status_code == 401
            assert (await nobody.post(URL, json={"request_id": "chatcmpl-1", "rating": 1})).status_code == 401


async def test_nearly_the_same_question_again_counts_against_the_answer_before() -> None:
    async with running({"feedbackloop": {"implicit": True}}) as s:
        session = {"x-stockyard-session": "s1"}
        first = await s.chat("How do I reset my password?", headers=session)
        await s.chat("Is it raining in Oslo today?", headers={"x-stockyard-session": "s2"})
        await s.chat("How can I reset my password?", headers=session)
        admin = s.http(s.admin_key)

        async def counted() -> bool:
            return bool((await admin.get(URL)).json()["feedback"])

        await until(counted)
        (row,) = (await admin.get(URL)).json()["feedback"]
        assert row["trace_id"] == first.headers["x-stockyard-trace-id"]
        assert (row["source"], row["score"]) == ("implicit", -0.5)


async def test_a_call_goes_past_the_module_by_default() -> None:
    async with running() as s:
        assert s.module("feedbackloop").hooks() == ()
        await s.configure({"feedbackloop": False})
        assert (await _rate(s, trace_id=await _ask(s), rating=1)).status_code == 409


async def test_judgements_are_told_apart_by_the_prompts_version() -> None:
    greet = {"slug": "greet", "model": "up/small", "messages": [{"role": "user", "content": "Greet."}]}
    async with running() as s:
        admin = s.http(s.admin_key)
        assert (await admin.post("/api/studio/templates", json=greet)).status_code == 201
        answer = await s.http().post("/v1/chat/completions", json={"_template": "greet@1", "messages": []})
        assert (await _rate(s, trace_id=answer.headers["x-stockyard-trace-id"], rating=-1)).status_code == 201
        assert (await _rate(s, trace_id=await _ask(s), rating=1)).status_code == 201
        (row,) = (await admin.get(f"{URL}/summary")).json()["templates"]
        assert (row["template"], row["count"], row["negative"]) == ("greet@1", 1, 1)


async def test_the_share_of_bad_judgements_is_a_gauge_of_alerts_while_the_module_is_on() -> None:
    async with running() as s:
        gauges = s.instance.core.services["lookout"].alerts.gauges

        def bad_pct(**narrowed: str) -> float | None:
            value: float | None = gauges["thumbs_down_rate"](narrowed, 3600)
            return value

        assert bad_pct() is None
        first, second = await _ask(s), await _ask(s)
        for trace_id, rating in ((first, 1), (second, -1)):
            assert (await _rate(s, trace_id=trace_id, rating=rating)).status_code == 201
        assert (bad_pct(), bad_pct(model="small"), bad_pct(model="other"), bad_pct(tag="x")) == (50.0, 50.0, None, None)
        assert (await _rate(s, trace_id=first, rating=-1)).status_code == 201
        assert bad_pct() == 100.0, "a later judgement takes the place of the earlier one"
        await s.configure({"feedbackloop": {"keep_days": 10}})
        assert bad_pct() == 100.0
        await s.configure({"feedbackloop": False})

        async def gone() -> bool:
            return "thumbs_down_rate" not in gauges

        await until(gone)


async def test_judgements_from_before_a_start_count_in_the_share_of_bad_ones() -> None:
    async with running() as s:
        assert (await _rate(s, trace_id=await _ask(s), rating=-1)).status_code == 201
        fresh = Feedback(s.instance.core)
        now_ns = s.instance.core.clock.wall_ns()
        assert (await fresh.recent()).bad_pct({}, now_ns - 60 * 10**9) == 100.0
        assert (await fresh.recent()).bad_pct({}, now_ns + 1) is None


async def test_an_alert_on_the_share_of_thumbs_down_fires() -> None:
    async with running({"alertpulse": {"for_s": 0}}) as s:
        client = s.http(s.admin_key)
        rule = {"name": "disliked", "metric": "thumbs_down_rate", "threshold": 30, "filter": {"model": "up/small"}}
        made = (await client.post("/api/observe/alerts", json=rule)).json()

        async def state() -> str:
            await s.module("alertpulse").tick()
            return str((await client.get(f"/api/observe/alerts/{made['id']}")).json()["state"])

        for rating in (1, 1, 1):
            assert (await _rate(s, trace_id=await _ask(s), rating=rating)).status_code == 201

        async def is_ok() -> bool:
            return await state() == "ok"

        await until(is_ok)
        for rating in (-1, -1):
            assert (await _rate(s, trace_id=await _ask(s), rating=rating)).status_code == 201

        async def fires() -> bool:
            return await state() == "firing"

        await until(fires)
