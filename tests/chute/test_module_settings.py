"""The settings of every module: described and bounded at any depth, and wrong ones refused by name with nothing changed."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, get_args

import pytest
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from instance.chute.discovery import builtin_module, builtin_names
from instance.chute.embedding.model_files import missing_packages
from tests.modules.conftest import running

NAMES = sorted(builtin_names())
NUMBERS = (int, float, Decimal)


def _fields(
    model: type[BaseModel], path: str = "", seen: frozenset[type] = frozenset()
) -> Iterator[tuple[str, FieldInfo]]:
    """Every field of the settings with its path, those of the models in them too."""
    for name, field in model.model_fields.items():
        yield f"{path}{name}", field
        for inner in _models(field.annotation):
            if inner not in seen:
                yield from _fields(inner, f"{path}{name}.", seen | {inner})


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _is_number(annotation: Any) -> bool:
    parts = get_args(annotation) or (annotation,)
    return any(part in NUMBERS for part in parts)


def _is_bounded(field: FieldInfo) -> bool:
    kinds = {type(bound) for bound in field.metadata}
    return bool(kinds & {Ge, Gt}) and bool(kinds & {Le, Lt})


@pytest.mark.parametrize("name", NAMES)
def test_each_setting_is_described_and_each_number_bounded(name: str) -> None:
    fields = list(_fields(builtin_module(name).Settings))
    assert [path for path, field in fields if not field.description] == []
    assert [path for path, field in fields if _is_number(field.annotation) and not _is_bounded(field)] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_of_the_defaults_holds_them(name: str) -> None:
    settings = builtin_module(name).Settings
    assert settings.model_validate(settings().model_dump(mode="json")) == settings()


def _wrong(field: FieldInfo) -> Any:
    """A value that the field cannot have; `None` where that is not plain."""
    for bound in field.metadata:
        if isinstance(bound, Ge):
            return float(bound.ge) - 1  # type: ignore[arg-type]
        if isinstance(bound, Gt):
            return float(bound.gt)  # type: ignore[arg-type]
    annotation = str(field.annotation)
    if "Literal" in annotation and not annotation.startswith(("list", "dict", "tuple")):
        return "surely not one of these"
    if field.annotation is bool:
        return "perhaps"
    if annotation.startswith(("list", "dict")):
        return 17
    return None


@pytest.mark.parametrize("category", sorted({builtin_module(name).category for name in NAMES}))
async def test_what_a_setting_cannot_be_is_refused_by_name_and_the_module_goes_on(category: str) -> None:
    async with running() as s:
        http = s.http(s.admin_key)
        for name in NAMES:
            if builtin_module(name).category != category:
                continue
            page = f"/api/proxy/modules/{name}"
            before = (await http.get(page)).json()["config"]
            module = s.module(name)
            for setting, field in builtin_module(name).Settings.model_fields.items():
                wrong = _wrong(field)
                if wrong is None:
                    continue
                answer = await http.put(page, json={"config": {field.alias or setting: wrong}})
                error = answer.json()["error"]
                assert (answer.status_code, error["code"]) == (422, "invalid_value"), (name, setting, error)
                assert error["param"].split(".")[:2] == ["config", field.alias or setting], (name, setting)
            unknown = await http.put(page, json={"config": {"no_such_setting": 1}})
            assert (unknown.status_code, unknown.json()["error"]["param"]) == (422, "config.no_such_setting")
            assert (await http.get(page)).json()["config"] == before
            assert s.module(name) is module
        assert (await s.chat()).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_switched_on_as_it_is_every_module_lets_an_ordinary_chat_through(stream: bool) -> None:
    if missing_packages():
        pytest.skip("modules that embed are refused without the extra")
    async with running() as s:
        for name in NAMES:
            was = s.module(name) is not None
            await s.configure({name: True})
            answer = await s.chat("Which river flows through Vienna?", stream=stream)
            assert answer.status_code == 200, (name, answer.text)
            assert "river" in answer.text, name
            trace = await s.trace(answer.headers["x-stockyard-trace-id"])
            assert not {"module_error", "reject"} & {entry["action"] for entry in trace["decisions"]}, name
            await s.configure({name: was})
        await s.configure(dict.fromkeys(NAMES, True))
        answer = await s.chat("Which river flows through Prague?", stream=stream)
        assert answer.status_code == 200, answer.text
        assert "river" in answer.text
