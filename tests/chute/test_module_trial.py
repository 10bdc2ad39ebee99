"""A module tried on a sample: what it would do, and that nothing came of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.modules.conftest import Running, running


def sample(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **more}


def completion(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }


async def trial(s: Running, name: str, **body: Any) -> dict[str, Any]:
    answer = await s.http(s.admin_key).post(f"/api/proxy/modules/{name}/test", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def configure(s: Running, name: str, enabled: bool = True, **config: Any) -> None:
    change = {"enabled": enabled, "config": config, "confirm": True}
    answer = await s.http(s.admin_key).put(f"/api/proxy/modules/{name}", json=change)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("enabled", [True, False])
async def test_a_module_rewrites_a_sample_as_it_would_a_call_whether_it_is_on_or_off(enabled: bool) -> None:
    async with running() as s:
        await configure(s, "promptguard", enabled, mode="redact")
        found = await trial(s, "promptguard", request=sample("write to ada@navy.mil"), response=completion("gladly"))
        assert found["request"]["messages"][0]["content"] == "write to [EMAIL_1]"
        assert found["response"]["choices"][0]["message"]["content"] == "gladly"
        assert {entry["module"] for entry in found["decisions"]} == {"promptguard"}
        assert found["rejected"] is None
        row = (await s.http(s.admin_key).get("/api/proxy/modules/promptguard")).json()
        assert (row["enabled"], row["calls"]) == (enabled, 0)


async def test_a_refusal_is_told_and_not_counted() -> None:
    async with running() as s:
        await configure(s, "ipfence", deny=["127.0.0.0/8"])
        found = await trial(s, "ipfence", request=sample("hi"))
        assert (found["rejected"]["code"], found["rejected"]["status"]) == ("ip_denied", 403)
        assert found["response"] is None
        assert (await s.http(s.admin_key).get("/api/proxy/modules/ipfence")).json()["blocked"] == 0


async def test_a_check_of_the_answer_sees_the_sample_answer() -> None:
    schema = {"type": "object", "required": ["name"]}
    bound = [{"name": "who", "on": "response", "schema": schema}]
    async with running() as s:
        await configure(s, "schemavalidator", enabled=False, bindings=bound)
        good = await trial(s, "schemavalidator", request=sample("who?"), response=completion('{"name": "Ada"}'))
        bad = await trial(s, "schemavalidator", request=sample("who?"), response=completion('{"age": 36}'))
        assert good["rejected"] is None
        assert (bad["rejected"]["code"], bad["rejected"]["status"]) == ("response_schema", 422)


async def test_no_other_module_runs_and_no_provider_is_called_and_no_call_is_recorded() -> None:
    async with running() as s:
        await configure(s, "ipfence", deny=["127.0.0.0/8"])
        await configure(s, "cachelayer")
        for _ in range(2):
            found = await trial(s, "cachelayer", request=sample("hi"), response=completion("from the sample"))
            assert found["response"]["choices"][0]["message"]["content"] == "from the sample"
        await configure(s, "ipfence", enabled=False)
        answer = await s.chat("hi")
        assert answer.headers["x-stockyard-cache"] == "miss", "the sample's answer was not kept"
        await s.settled()
        traces = (await s.http(s.admin_key).get("/api/observe/traces")).json()["traces"]
        assert len(traces) == 1


async def test_what_a_module_asks_a_model_is_not_asked() -> None:
    async with running() as s:
        await configure(s, "langbridge", enabled=False, mode="translate", translator_model="up/small")
        found = await trial(s, "langbridge", request=sample("Wie weit ist der Mond von der Erde entfernt?"))
        assert found["request"]["messages"][0]["content"] == "Wie weit ist der Mond von der Erde entfernt?"
        assert len(s.mock.calls) == 0


@pytest.mark.parametrize(
    ("name", "body", "status", "code"),
    [
        ("nomodule", {"request": sample("hi")}, 404, "not_found"),
        ("anthrofit", {"request": sample("hi")}, 501, "not_supported"),
        ("retry", {"request": {"messages": "hi"}}, 400, "bad_request"),
        ("retry", {}, 422, "missing_field"),
        ("retry", {"request": sample("hi"), "answer": {}}, 422, "unknown_field"),
    ],
)
async def test_a_sample_that_cannot_be_tried_is_refused(
    name: str, body: dict[str, Any], status: int, code: str
) -> None:
    async with running() as s:
        answer = await s.http(s.admin_key).post(f"/api/proxy/modules/{name}/test", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_a_proxy_key_may_not_try_modules() -> None:
    async with running() as s:
        answer = await s.http(s.key).post("/api/proxy/modules/retry/test", json={"request": sample("hi")})
        assert answer.status_code == 403


async def test_every_module_can_be_tried_on_an_ordinary_chat_and_lets_it_pass() -> None:
    async with running() as s:
        listed = (await s.http(s.admin_key).get("/api/proxy/modules")).json()["modules"]
        for row in listed:
            if row["category"] == "shims":
                continue
            found = await trial(s, row["name"], request=sample("hi"), response=completion("hello"))
            assert found["rejected"] is None, row["name"]
            assert "module_error" not in {entry["action"] for entry in found["decisions"]}, row["name"]
            assert found["response"]["choices"][0]["message"]["content"].startswith("hello"), row["name"]
