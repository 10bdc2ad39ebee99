"""Where settings come from: file, stored values, environment and flags, merged in this order, each with its source."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin

import orjson
from pydantic import BaseModel, ValidationError

from instance.core.errors import StockyardError
from instance.core.settings import Settings

FILE_NAME = "stockyard.toml"
ENV_PREFIX = "STOCKYARD_"
OTHER_ENV_NAMES = frozenset(
    ("STOCKYARD_ADMIN_KEY", "STOCKYARD_CONFIG", "STOCKYARD_DATA", "STOCKYARD_INSTANCE_FILE", "STOCKYARD_SECRET_KEY")
)
"""Names of the environment that are no settings; those of the control plane begin with STOCKYARD_CLOUD_."""

_CODES = {"extra_forbidden": "unknown_field", "missing": "missing_field"}


class SettingsError(StockyardError):
    """Settings that cannot be used; `details` lists every bad field as `{param, code, message, source}`."""

    def __init__(self, problems: list[dict[str, str]]) -> None:
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(
            first["code"],
            f"{first['param']} ({first['source']}): {first['message']}{more}",
            param=first["param"],
            details=problems,
        )


def load_settings(
    data_dir: Path,
    *,
    toml_path: Path | None,
    env: Mapping[str, str],
    flags: Mapping[str, Any],
    api_values: Mapping[str, Any],
) -> tuple[Settings, dict[str, str]]:
    """See `Settings.load`."""
    layers = (
        ("file", from_file(toml_path or data_dir / FILE_NAME, required=toml_path is not None)),
        ("api", nested(api_values)),
        ("env", from_env(env)),
        ("flag", nested({path: value for path, value in flags.items() if value is not None})),
    )
    merged: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, layer in layers:
        _merge(merged, layer)
        for path in leaves(layer):
            for inner in [known for known in sources if known.startswith(path + ".")]:
                del sources[inner]
            sources[path] = source
    return validated(merged, sources), sources


def validated(values: Mapping[str, Any], sources: Mapping[str, str]) -> Settings:
    """The settings with these nested values; raises `SettingsError`."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError([_problem(row, sources) for row in error.errors(include_url=False)]) from None


def from_file(path: Path, *, required: bool) -> dict[str, Any]:
    """The nested values of a TOML file; none when it is absent and not required."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        if required:
            raise SettingsError([_row(str(path), "missing_field", "there is no such file", "file")]) from None
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([_row(str(path), "invalid_value", f"this is not TOML: {error}", "file")]) from None


def from_env(env: Mapping[str, str]) -> dict[str, Any]:
    """The nested values of `STOCKYARD_SECTION__NAME`; the values are text, JSON for lists, tables and modules' settings."""
    values: dict[str, Any] = {}
    for name, text in env.items():
        if not name.startswith(ENV_PREFIX) or name in OTHER_ENV_NAMES or name.startswith("STOCKYARD_CLOUD_"):
            continue
        path = ".".join(name[len(ENV_PREFIX) :].lower().split("__"))
        values[path] = _from_text(path, text)
    return nested(values)


def _from_text(path: str, text: str) -> Any:
    if text[:1] in ("[", "{") or path.startswith("modules."):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
    return text


def nested(by_path: Mapping[str, Any]) -> dict[str, Any]:
    """`{"server.port": 1}` as `{"server": {"port": 1}}`. A price's model may hold dots: `prices.p/gpt-4.1.in_usd_per_mtok`."""
    values: dict[str, Any] = {}
    for path, value in by_path.items():
        parts = _split(path)
        table = values
        for part in parts[:-1]:
            inner = table.get(part)
            if not isinstance(inner, dict):
                inner = table[part] = {}
            table = inner
        table[parts[-1]] = value
    return values


def _split(path: str) -> list[str]:
    section, _, rest = path.partition(".")
    if section == "prices" and "." in rest:
        model, _, name = rest.rpartition(".")
        return [section, model, name]
    return path.split(".")


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The paths of everything in nested values that is not a table; an empty table counts as one value."""
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from leaves(value, path + ".")
        else:
            yield path


def _merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for name, value in layer.items():
        known = into.get(name)
        if isinstance(known, dict) and isinstance(value, Mapping):
            _merge(known, value)
        else:
            into[name] = _copied(value)


def _copied(value: Any) -> Any:
    return {name: _copied(inner) for name, inner in value.items()} if isinstance(value, Mapping) else value


def _row(param: str, code: str, message: str, source: str) -> dict[str, str]:
    return {"param": param, "code": code, "message": message, "source": source}


def _problem(error: Any, sources: Mapping[str, str]) -> dict[str, str]:
    location = [str(part) for part in error["loc"]]
    path = ".".join(location)
    code = _CODES.get(error["type"], "invalid_value")
    message = str(error["msg"])
    if code == "unknown_field":
        near = get_close_matches(location[-1], names_at(location[:-1]), 1)
        message = "there is no such setting" + (
            f"; did you mean {'.'.join([*location[:-1], near[0]])}?" if near else ""
        )
    source = next((sources[known] for known in sources if known == path or known.startswith(path + ".")), "default")
    return _row(path, code, message, source)


def names_at(path: list[str]) -> list[str]:
    """The names that a table of the settings knows; none where any name is allowed. A list's places are parts of the path."""
    model: Any = Settings
    for part in path:
        if isinstance(model, type) and issubclass(model, BaseModel):
            field = model.model_fields.get(part)
            model = field.annotation if field else None
        elif get_origin(model) in (dict, list):
            model = get_args(model)[-1]
        else:
            return []
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
