"""The effective settings as the API shows them, and what a change of them means by path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

import orjson
from pydantic import BaseModel, SecretStr

from instance.chute.module_secrets import hidden
from instance.core.settings import Settings

LIVE = frozenset(
    (
        "public_docs",
        "publish_head",
        "metrics_public",
        "max_database_bytes",
        "embedder.wait_s",
        "embedder.queue_max",
    )
)
"""Settings that hold at once; every other is read when the instance starts."""

MASKED = "********"


def shown(
    settings: Settings, sources: Mapping[str, str], module_secrets: Mapping[str, frozenset[str]] | None = None
) -> dict[str, Any]:
    """By section, each value as `{value, source, restart_needed}`; secrets are masked, those of modules by the names of
    their settings (`module_secrets`, by module)."""
    section = _section(settings, "", sources)
    modules = section["modules"]
    modules["value"] = {
        name: hidden(config, (module_secrets or {}).get(name, frozenset())) for name, config in modules["value"].items()
    }
    return section


def etag(document: Mapping[str, Any]) -> str:
    """The `ETag` of what is shown."""
    return f'"{sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]}"'


def _section(model: BaseModel, prefix: str, sources: Mapping[str, str]) -> dict[str, Any]:
    section: dict[str, Any] = {}
    for name in type(model).model_fields:
        path = f"{prefix}{name}"
        value = getattr(model, name)
        section[name] = (
            _section(value, f"{path}.", sources) if isinstance(value, BaseModel) else _value(path, value, sources)
        )
    return section


def _value(path: str, value: Any, sources: Mapping[str, str]) -> dict[str, Any]:
    source = sources.get(path) or next((sources[known] for known in sources if known.startswith(f"{path}.")), "default")
    return {"value": _plain(value), "source": source, "restart_needed": path not in LIVE}


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return MASKED if value.get_secret_value() else ""
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, (str, int, float)) or value is None:
        return value
    return str(value)


def paths_of(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a partial settings document as `(path, value)`; `null` resets a path to what is below it."""
    for name, value in document.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from paths_of(value, f"{path}.")
        else:
            yield path, value
