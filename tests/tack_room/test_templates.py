"""`/api/studio/templates` over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.modules.conftest import Running, running

SUPPORT: dict[str, Any] = {
    "name": "Support desk",
    "tags": ["prod"],
    "system_prompt": "You help customers of {{company}}.",
    "content": "{{question}}",
    "variables": ["question"],
    "defaults": {"company": "Acme"},
    "temperature": 0.3,
}


async def _ask(s: Running, method: str, path: str = "", body: Any = None) -> tuple[int, dict[str, Any]]:
    answer = await s.http(s.admin_key).request(method, f"/api/studio/templates{path}", json=body)
    made: dict[str, Any] = answer.json()
    return answer.status_code, made


async def test_short_forms_are_normalised_and_the_whole_comes_back() -> None:
    async with running() as s:
        status, made = await _ask(s, "POST", body={**SUPPORT, "content": "{{question}} {{tone}}"})
        assert (status, made["status"], made["slug"], made["version"]) == (201, "created", "support-desk", 1)
        assert made["warnings"] == ["{{tone}} is used and was not declared: it is a required string now"]
        _, found = await _ask(s, "GET", "/support-desk")
        assert found["messages"][0] == {"role": "system", "content": "You help customers of {{company}}."}
        assert found["params"] == {"temperature": 0.3}
        assert {each["name"]: each.get("default") for each in found["variables"]} == {
            "question": None,
            "company": "Acme",
            "tone": None,
        }
        assert found["content"].startswith("system: You help")
        assert found["labels"] == ["latest"]
        assert (await _ask(s, "GET", f"/{found['id']}"))[1] == found


async def test_versions_are_numbered_never_changed_and_compared() -> None:
    async with running() as s:
        await _ask(s, "POST", body=SUPPORT)
        content = {name: value for name, value in SUPPORT.items() if name not in ("name", "tags")}
        assert (await _ask(s, "POST", "/support-desk/versions", content))[1]["status"] == "unchanged"
        status, made = await _ask(
            s,
            "POST",
            "/support-desk/versions",
            {**content, "content": "{{question}}\nBe brief, {{who}}.", "label": "staging"},
        )
        assert (status, made["version"]) == (201, 2)
        _, listed = await _ask(s, "GET", "/support-desk/versions")
        assert [(each["version"], each["labels"]) for each in listed["versions"]] == [
            (2, ["latest", "staging"]),
            (1, []),
        ]
        _, first = await _ask(s, "GET", "/support-desk/versions/1")
        assert first["messages"][1]["content"] == "{{question}}"
        _, diff = await _ask(s, "GET", "/support-desk/diff?from=1&to=2")
        assert {"op": "+", "text": "Be brief, {{who}}."} in diff["hunks"][0]["lines"]
        assert diff["variables"] == {"added": ["who"], "removed": []}
        assert (await _ask(s, "GET", "/support-desk/versions/3"))[0] == 404


async def test_rendering_shows_what_a_call_would_send() -> None:
    async with running() as s:
        await _ask(s, "POST", body=SUPPORT)
        _, made = await _ask(s, "POST", "/support-desk/render", {"variables": {"question": "<b>Why?</b> & so on"}})
        assert [each["content"] for each in made["messages"]] == ["You help customers of Acme.", "<b>Why?</b> & so on"]
        assert made["tokens_in"] > 5
        status, refused = await _ask(s, "POST", "/support-desk/render", {"variables": {}})
        assert (status, refused["error"]["code"], refused["error"]["param"]) == (400, "missing_variable", "question")


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("a\n b {{7*7}}", 2, 4),
        ("{{#a}}x", 1, 1),
        ("x {{/a}}", 1, 3),
        ("{{a", 1, 1),
        ("{{{a}}}", 1, 1),
        ("{{#a}}{{/b}}", 1, 7),
    ],
)
async def test_a_text_that_is_no_template_is_refused_with_its_place(text: str, line: int, column: int) -> None:
    async with running() as s:
        status, refused = await _ask(s, "POST", body={"slug": "bad", "content": text})
        assert (status, refused["error"]["code"]) == (422, "bad_template")
        assert refused["error"]["details"] == {"line": line, "column": column}


@pytest.mark.parametrize(
    "body",
    [
        {"slug": "Bad Slug", "content": "x"},
        {"content": "x"},
        {"slug": "a", "content": "x", "params": {"stream": True}},
        {"slug": "a", "content": "x", "variables": [{"name": "n", "type": "number", "default": "x"}]},
        {"slug": "a", "content": "x", "variables": [{"name": "n", "pattern": "(?=x)"}]},
        {"slug": "a", "content": "x", "label": "latest"},
        {"slug": "a"},
        {"slug": "a", "content": "x", "locked": ["temperature"]},
    ],
)
async def test_what_cannot_be_is_refused_and_nothing_is_stored(body: dict[str, Any]) -> None:
    async with running() as s:
        assert (await _ask(s, "POST", body=body))[0] == 422
        assert (await _ask(s, "GET"))[1]["templates"] == []


async def test_the_list_is_narrowed_paged_and_counts_calls() -> None:
    async with running() as s:
        for number in range(3):
            await _ask(
                s, "POST", body={"slug": f"t{number}", "content": "x", "model": "up/small", "tags": [f"tag{number}"]}
            )
        await s.chat(model="prompt:t1")
        _, page = await _ask(s, "GET", "?limit=2")
        assert [each["slug"] for each in page["templates"]] == ["t2", "t1"]
        assert [each["calls_30d"] for each in page["templates"]] == [0, 1]
        _, rest = await _ask(s, "GET", f"?limit=2&cursor={page['next_cursor']}")
        assert ([each["slug"] for each in rest["templates"]], rest["has_more"]) == (["t0"], False)
        assert [each["slug"] for each in (await _ask(s, "GET", "?tag=tag0"))[1]["templates"]] == ["t0"]
        assert [each["slug"] for each in (await _ask(s, "GET", "?q=T2"))[1]["templates"]] == ["t2"]
        assert (await _ask(s, "POST", body={"slug": "t1", "content": "x"}))[0] == 409


async def test_a_labelled_template_is_archived_but_not_removed() -> None:
    async with running() as s:
        await _ask(s, "POST", body={**SUPPORT, "label": "production"})
        assert (await _ask(s, "DELETE", "/support-desk?purge=true"))[1]["error"]["code"] == "in_use"
        assert (await _ask(s, "DELETE", "/support-desk"))[1]["status"] == "archived"
        assert (await _ask(s, "DELETE", "/support-desk/labels/production"))[0] == 200
        assert (await _ask(s, "DELETE", "/support-desk?purge=true"))[1]["status"] == "deleted"
        assert (await _ask(s, "GET", "/support-desk"))[0] == 404
        assert (await _ask(s, "PUT", "/support-desk/labels/x", {"version": 1}))[0] == 404


async def test_a_label_points_only_to_versions_that_there_are() -> None:
    async with running() as s:
        await _ask(s, "POST", body=SUPPORT)
        assert (await _ask(s, "PUT", "/support-desk/labels/production", {"version": 2}))[0] == 404
        assert (await _ask(s, "PUT", "/support-desk/labels/production", {}))[0] == 422


async def test_lint_finds_what_promptlint_would() -> None:
    async with running() as s:
        await _ask(s, "POST", body={"slug": "j", "system_prompt": "Answer only in JSON.", "content": "{{q}}"})
        _, made = await _ask(s, "POST", "/j/lint")
        assert [each["rule"] for each in made["findings"]] == ["json_without_format"]
        assert made["findings"][0]["line"] == 1
