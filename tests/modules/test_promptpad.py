"""promptpad over HTTP: stored prompts filled in, labelled, split, refused."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.mock_upstream import MockUpstream
from tests.modules.conftest import Running, running

GREET = {
    "slug": "greet",
    "model": "up/small",
    "messages": [{"role": "system", "content": "You are kind."}, {"role": "user", "content": "Greet {{who}}."}],
    "variables": ["who"],
    "params": {"temperature": 0.3, "max_tokens": 40},
}


async def _post(
    s: Running, path: str, body: dict[str, Any], *, method: str = "POST", status: int = 0
) -> dict[str, Any]:
    answer = await s.http(s.admin_key).request(method, f"/api/studio/templates{path}", json=body)
    assert answer.status_code == status or (not status and answer.is_success), answer.text
    made: dict[str, Any] = answer.json()
    return made


async def _call(s: Running, model: str = "prompt:greet", who: Any = "Ada", stream: bool = False, **more: Any) -> Any:
    extra = {"_template_vars": {"who": who}, **more.pop("extra", {})}
    made = await s.sdk().chat.completions.create(
        model=model, messages=more.pop("messages", []), extra_body=extra, stream=stream, **more
    )
    if stream:
        return "".join([chunk.choices[0].delta.content or "" async for chunk in made if chunk.choices])
    return made.choices[0].message.content


def _sent(s: Running) -> dict[str, Any]:
    body: dict[str, Any] = s.mock.calls[-1].json()
    return body


@pytest.mark.parametrize("stream", [False, True])
async def test_values_are_inserted_as_text_and_never_parsed_again(stream: bool) -> None:
    async with running() as s:
        await _post(s, "", GREET)
        assert await _call(s, who="Ada {{7*7}} {{who}}", stream=stream) == "echo: Greet Ada {{7*7}} {{who}}."
        sent = _sent(s)
        assert sent["messages"] == [
            {"role": "system", "content": "You are kind."},
            {"role": "user", "content": "Greet Ada {{7*7}} {{who}}."},
        ]
        assert sent["model"] == "small"
        assert not [name for name in sent if name.startswith("_")]


async def test_a_moved_label_is_served_from_the_next_call_on() -> None:
    async with running() as s:
        await _post(s, "", {**GREET, "label": "production"})
        await _post(s, "/greet/versions", {**GREET_TWO, "change_note": "shorter"})
        assert await _call(s) == "echo: Greet Ada."
        moved = await _post(s, "/greet/labels/production", {"version": 2}, method="PUT")
        assert moved["labels"] == {"production": 2, "latest": 2}
        assert await _call(s) == "echo: Hi Ada"
        await _post(s, "/greet/labels/production", {"version": 1}, method="PUT")
        assert await _call(s) == "echo: Greet Ada."
        assert await _call(s, "prompt:greet@2") == "echo: Hi Ada"
        assert await _call(s, "prompt:greet@latest") == "echo: Hi Ada"
        entries = (await s.http(s.admin_key).get("/api/trust/ledger?action=label")).json()["events"]
        assert [(each["detail"]["before"], each["detail"]["after"]) for each in entries] == [([2], [1]), ([1], [2])]


GREET_TWO = {"content": "Hi {{who}}", "model": "up/small"}


@pytest.mark.parametrize(
    ("values", "code", "param"),
    [
        ({}, "missing_variable", "who"),
        ({"who": 5}, "invalid_variable", "who"),
        ({"who": "x", "whom": "y"}, "invalid_variable", "whom"),
    ],
)
async def test_missing_bad_and_unknown_variables_are_refused_by_name(
    values: dict[str, Any], code: str, param: str
) -> None:
    async with running() as s:
        await _post(s, "", GREET)
        with pytest.raises(openai.BadRequestError) as caught:
            await s.sdk().chat.completions.create(
                model="prompt:greet", messages=[], extra_body={"_template_vars": values}
            )
        assert (caught.value.code, caught.value.param) == (code, param)
        assert not s.mock.calls


async def test_it_is_named_by_header_too_and_its_model_and_messages_come_with_it() -> None:
    async with running() as s:
        await _post(s, "", GREET)
        headers = {"x-stockyard-template": "greet@1", "x-stockyard-template-vars": '{"who": "Zoë"}'}
        answer = await s.http().post(
            "/v1/chat/completions", json={}, headers=[(k.encode(), v.encode()) for k, v in headers.items()]
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"][0]["message"]["content"] == "echo: Greet Zoë."
        bad = await s.http().post(
            "/v1/chat/completions", json={}, headers={**headers, "x-stockyard-template-vars": "{"}
        )
        assert (bad.status_code, bad.json()["error"]["param"]) == (400, "X-Stockyard-Template-Vars")


async def test_the_callers_messages_follow_and_its_parameters_win_unless_locked() -> None:
    async with running() as s:
        await _post(s, "", {**GREET, "locked": ["max_tokens"]})
        own = [{"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Again"}]
        assert await _call(s, messages=own, temperature=0.9, max_tokens=5000) == "echo: Again"
        sent = _sent(s)
        assert [each["content"] for each in sent["messages"]] == ["You are kind.", "Greet Ada.", "Hello.", "Again"]
        assert (sent["temperature"], sent["max_tokens"]) == (0.9, 40)
        await _call(s, "up/large", extra={"_template": "greet"}, max_completion_tokens=7)
        assert _sent(s)["model"] == "large"
        await _post(s, "/greet/versions", {**GREET, "slug": None, "locked": ["model"]} | {}, status=422)
        version = {name: value for name, value in GREET.items() if name != "slug"}
        await _post(s, "/greet/versions", {**version, "locked": ["model"]})
        await _call(s, "up/large", extra={"_template": "greet"})
        assert (_sent(s)["model"], _sent(s)["temperature"]) == ("small", 0.3)


async def test_archived_and_unknown_prompts_versions_and_labels_are_not_found() -> None:
    async with running() as s:
        await _post(s, "", GREET)
        for name in ("nobody", "greet@9", "greet@staging", "no such@@"):
            with pytest.raises(openai.NotFoundError) as caught:
                await _call(s, f"prompt:{name}")
            assert caught.value.code == "prompt_not_found"
        await _post(s, "/greet", {}, method="DELETE")
        with pytest.raises(openai.NotFoundError):
            await _call(s)
        await _post(s, "/greet", {"status": "active"}, method="PUT")
        assert await _call(s) == "echo: Greet Ada."
        assert len(s.mock.calls) == 1


async def test_variants_split_the_sessions_and_keep_each_at_its_own() -> None:
    async with running() as s:
        await _post(s, "", GREET)
        await _post(s, "/greet/versions", GREET_TWO)
        both = {"variants": [{"version": 1, "weight": 1}, {"version": 2, "weight": 1, "name": "short"}]}
        await _post(s, "/greet/labels/production", both, method="PUT")
        seen: dict[str, set[str]] = {}
        for number in range(24):
            for _ in range(2):
                session = f"s{number}"
                answer = await _call(s, extra_headers={"x-stockyard-session": session})
                seen.setdefault(session, set()).add(answer)
        assert all(len(answers) == 1 for answers in seen.values())
        assert {answer for answers in seen.values() for answer in answers} == {"echo: Greet Ada.", "echo: Hi Ada"}
        (trace,) = await s.recent_traces(1)
        ((action, detail),) = await s.trail(trace["id"], "promptpad")
        assert (action, detail["name"], detail["label"]) == ("prompt", "greet", "production")
        assert detail["variant"] in ("1", "short")
        assert trace["tags"] == {"template": "greet", "template_version": str(detail["version"])}


async def test_keys_that_may_only_use_stored_prompts_bring_no_instructions_of_their_own() -> None:
    async with running({"promptpad": {"require": ["nobody"]}}) as s:
        await _post(s, "", GREET)
        assert (await s.chat("hi")).status_code == 200
        await s.configure({"promptpad": {"require": ["*"]}})
        refused = await s.chat("hi")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "prompt_required")
        assert await _call(s, messages=[{"role": "user", "content": "Well?"}]) == "echo: Well?"
        with pytest.raises(openai.PermissionDeniedError):
            await _call(s, messages=[{"role": "system", "content": "Forget it."}])
        await s.configure({"promptpad": {"allow_inline": False}})
        assert (await s.chat("hi")).status_code == 403


async def test_a_prompt_may_not_grow_beyond_its_limit() -> None:
    async with running({"promptpad": {"max_render_chars": 100}}) as s:
        await _post(
            s,
            "",
            {
                "slug": "list",
                "model": "up/small",
                "content": "{{#a}}{{#a}}x{{/a}}{{/a}}",
                "variables": [{"name": "a", "type": "list"}],
            },
        )
        with pytest.raises(openai.BadRequestError) as caught:
            await s.sdk().chat.completions.create(
                model="prompt:list", messages=[], extra_body={"_template_vars": {"a": [1] * 50}}
            )
        assert caught.value.code == "invalid_variable"


async def test_a_model_by_alias_is_resolved_like_any_other() -> None:
    async with running() as s:
        await s.http(s.admin_key).put("/api/proxy/aliases/fast", json={"target": "up/large"})
        await _post(s, "", {**GREET, "model": "fast"})
        await _call(s)
        assert _sent(s)["model"] == "large"


async def test_an_ordinary_call_passes_byte_for_byte_and_an_empty_one_is_still_refused() -> None:
    async with running() as s:
        raw = b'{"model":"small", "messages":[ {"role":"user","content":"{{who}}"} ]}'
        assert (await s.http().post("/v1/chat/completions", content=raw)).status_code == 200
        assert s.mock.calls[0].body == raw
        assert (
            await s.http().post("/v1/chat/completions", json={"model": "up/small", "messages": []})
        ).status_code == 400
        assert (await s.http().post("/v1/chat/completions", json={"messages": []})).json()["error"][
            "code"
        ] == "model_required"


async def test_other_dialects_use_stored_prompts_too() -> None:
    async with running() as s:
        await _post(s, "", GREET)
        body = {"model": "prompt:greet", "max_tokens": 20, "messages": [{"role": "user", "content": "Again"}]}
        answer = await s.http().post("/v1/messages", json={**body, "_template_vars": {"who": "Ada"}})
        assert answer.status_code == 200, answer.text
        assert [each["content"] for each in _sent(s)["messages"]] == ["You are kind.", "Greet Ada.", "Again"]


def _speaking(mock: MockUpstream) -> str:
    """Providers that speak the callers' own dialects."""
    return (
        f'[providers.claude]\ntype = "anthropic"\nbase_url = "{mock.at("anthropic")}"\napi_key = "sk-ant-test"\n'
        f'[providers.openai]\nbase_url = "{mock.url}"\napi_key = "native-key-1"\nmodels = ["gpt"]\n'
    )


async def test_providers_of_the_callers_dialect_are_not_told_of_the_prompt() -> None:
    own = {"_template": "greet", "_template_vars": {"who": "Ada"}}
    ask = [{"role": "user", "content": "hi"}]
    async with running(providers=_speaking) as s:
        kind = [{"role": "system", "content": "Be kind to {{who}}."}]
        await _post(s, "", {"slug": "greet", "messages": kind, "variables": ["who"]})
        body = {"model": "claude/claude-sonnet-4-5", "max_tokens": 20, "messages": ask, **own}
        answer = await s.http().post("/v1/messages", json=body)
        assert answer.status_code == 200, answer.text
        assert not [name for name in _sent(s) if name.startswith("_")]
        answer = await s.http().post("/v1/responses", json={"model": "openai/gpt", "input": "hi", **own})
        assert answer.status_code == 200, answer.text
        assert s.mock.calls[-1].path == "/v1/responses"
        assert not [name for name in _sent(s) if name.startswith("_")]


async def test_settings_that_cannot_be_are_refused_by_name() -> None:
    async with running() as s:
        answer = await s.http(s.admin_key).put("/api/proxy/modules/promptpad", json={"config": {"max_render_chars": 0}})
        assert (answer.status_code, answer.json()["error"]["param"]) == (422, "config.max_render_chars")
