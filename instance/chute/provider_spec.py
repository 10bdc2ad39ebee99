"""What is known of a provider before it is used: bundled table, configuration, database and environment in one.

Each layer sets what it names and leaves the rest: bundled < stockyard.toml < stored through the API < environment.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from typing import Any

from instance.chute.provider_dialects import DEFAULT_SPEAKS, PROVIDER_DIALECTS
from instance.core.settings import ProviderSettings

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
AUTHS = ("bearer", "header", "none", "shim")
"""How a key is sent: as `Authorization: Bearer`, in a header of its own, not at all, or as the type's shim signs it."""
DIALECTS = tuple(PROVIDER_DIALECTS)
MOCK = "mock"
_PLACE = re.compile(r"\{([A-Z0-9_]+)(?::([^{}]*))?\}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OURS = frozenset(
    ("host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding", "upgrade", "te")
)


class BadProvider(ValueError):
    """A field that cannot be; `param` names it."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param
        self.message = message


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """One provider as configured. `key_source` says where the key came from: `env`, `stored`, `config` or `none`."""

    name: str
    type: str = "openai"
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    key_source: str = "none"
    key_env: str = ""
    """The environment variable that usually holds its key, for hints."""
    auth: str = "bearer"
    auth_header: str = "api-key"
    """The header of `auth = "header"`."""
    openai_base_url: str = ""
    """Where it is OpenAI-compatible when that cannot be told from `base_url`."""
    speaks: tuple[str, ...] = DEFAULT_SPEAKS
    """Dialects of `/v1` that its OpenAI-compatible endpoint takes as they are."""
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """What else of the environment its shim reads, as far as it is set: AWS's credentials, Entra's client."""
    lists_models: bool = True
    shared_key: bool = False
    """Its variables are set for other ends too, so that their being there does not say that its models are wanted."""
    needs_env: tuple[str, ...] = ()
    """Variables that its base URL still needs."""
    headers: tuple[tuple[str, str], ...] = ()
    models: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    region: str = ""
    priority: int = 100
    timeout_s: float | None = None
    """Seconds that a whole call to it may take; None: no limit of its own."""
    enabled: bool = True
    key_lost: bool = False
    stream_usage: bool = True
    """Whether it takes `stream_options: {include_usage}`."""
    origin: str = "bundled"
    """The last layer that named it: `bundled`, `config`, `stored` or `env`."""

    @property
    def usable(self) -> bool:
        """Whether a call can be sent to it as it is."""
        return self.enabled and bool(self.base_url) and (self.auth == "none" or self.has_credentials)

    @property
    def only_by_name(self) -> bool:
        """Whether it is called only when it or a model of its own is named: nobody but the environment has configured it."""
        return self.shared_key and self.origin in ("bundled", "env")

    @property
    def has_credentials(self) -> bool:
        """Whether there is a key, or what the shim makes one of."""
        return bool(self.api_key) or bool(self.environment)

    def environ(self, name: str) -> str:
        """One of the variables that the shim reads; empty when it is not set."""
        return dict(self.environment).get(name, "")


@dataclass(frozen=True, slots=True)
class StoredProvider:
    """A row of the table `providers`, its key opened; None where the row leaves a field to the other layers."""

    name: str
    type: str | None = None
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    auth: str | None = None
    headers: dict[str, str] | None = None
    models: list[str] | None = None
    region: str | None = None
    priority: int | None = None
    timeout_s: float | None = None
    enabled: bool | None = None
    key_lost: bool = False
    """A key is stored but cannot be opened: it was sealed under another secret key."""


@cache
def bundled_providers() -> dict[str, dict[str, Any]]:
    """The table that comes with the program: name -> its row."""
    text = (resources.files("instance.chute") / "data" / "providers.toml").read_text("utf-8")
    return tomllib.loads(text)


def merged_specs(
    configured: Mapping[str, ProviderSettings], stored: Mapping[str, StoredProvider], environ: Mapping[str, str]
) -> dict[str, ProviderSpec]:
    """Every provider that any layer names, by name; the mock model is not among them."""
    specs: dict[str, ProviderSpec] = {}
    for name in {**bundled_providers(), **configured, **stored}:
        if name == MOCK:
            continue
        spec = _bundled(name, environ)
        if name in configured:
            spec = _with_config(spec, configured[name])
        if name in stored:
            spec = _with_stored(spec, stored[name])
        spec = _with_environment(spec, environ)
        said = (name in configured and configured[name].auth) or (name in stored and stored[name].auth)
        if spec.api_key and spec.auth == "none" and not said:
            spec = replace(spec, auth="bearer")
        specs[name] = spec
    return specs


def _bundled(name: str, environ: Mapping[str, str]) -> ProviderSpec:
    spec = _row_of(name) if name in bundled_providers() else ProviderSpec(name)
    if "{" not in spec.base_url and "{" not in spec.openai_base_url:
        return spec
    base_url, needs = filled(spec.base_url, environ)
    openai_base_url = filled(spec.openai_base_url, environ)[0]
    return replace(spec, base_url=base_url, needs_env=needs, openai_base_url=openai_base_url)


@cache
def _row_of(name: str) -> ProviderSpec:
    """A row of the bundled table; its URLs may still have places for variables."""
    row = bundled_providers()[name]
    spec = _typed(ProviderSpec(name), row.get("type", "openai"))
    return replace(
        spec,
        base_url=row.get("base_url", ""),
        openai_base_url=row.get("openai_base_url", ""),
        key_env=next(iter(env_names(row, "key_env")), ""),
        auth=row.get("auth", spec.auth),
        auth_header=row.get("auth_header", spec.auth_header),
        speaks=tuple(row.get("speaks", spec.speaks)),
        prefixes=tuple(row.get("prefixes", ())),
        headers=tuple(row.get("headers", {}).items()),
        lists_models=row.get("lists_models", True),
        shared_key=row.get("shared_key", False),
        stream_usage=row.get("stream_usage", spec.stream_usage),
    )


def _typed(spec: ProviderSpec, kind: str) -> ProviderSpec:
    """The spec with a type, and with what holds for all providers of it."""
    dialect = PROVIDER_DIALECTS.get(kind)
    if dialect is None:
        return replace(spec, type=kind)
    return replace(
        spec,
        type=kind,
        auth=dialect.auth,
        auth_header=dialect.auth_header,
        speaks=dialect.speaks,
        stream_usage=dialect.stream_usage,
    )


def filled(template: str, environ: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """A URL with its `{VARIABLE}` and `{VARIABLE:default}` put in; empty, with their names, while some are not set."""
    values: dict[str, str] = {}
    missing: list[str] = []
    for name, default in _PLACE.findall(template):
        value = environ.get(name, "").strip() or default
        values[name] = value
        if not value:
            missing.append(name)
    if missing:
        return "", tuple(missing)
    return _PLACE.sub(lambda place: values[place[1]], template), ()


def env_names(row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A row's field that holds one name of an environment variable or several."""
    found = row.get(name, ())
    return (found,) if isinstance(found, str) else tuple(found)


def _with_config(spec: ProviderSpec, row: ProviderSettings) -> ProviderSpec:
    key = row.api_key.get_secret_value().strip()
    if row.type and row.type != spec.type:
        spec = _typed(spec, row.type)
    return replace(
        _at(spec, row.base_url),
        api_key=key or spec.api_key,
        key_source="config" if key else spec.key_source,
        auth=row.auth or spec.auth,
        headers=tuple(row.headers.items()) or spec.headers,
        models=tuple(row.models),
        region=row.region,
        priority=row.priority,
        timeout_s=row.timeout_s,
        origin="config",
    )


def _at(spec: ProviderSpec, base_url: str | None) -> ProviderSpec:
    """The spec at another base URL, whose OpenAI-compatible part is then found from it."""
    if not base_url:
        return spec
    return replace(spec, base_url=base_url, openai_base_url="", needs_env=())


def _with_stored(spec: ProviderSpec, row: StoredProvider) -> ProviderSpec:
    if row.type and row.type != spec.type:
        spec = _typed(spec, row.type)
    return replace(
        _at(spec, row.base_url),
        api_key=row.api_key or spec.api_key,
        key_source="stored" if row.api_key else spec.key_source,
        auth=row.auth or spec.auth,
        headers=tuple(row.headers.items()) if row.headers is not None else spec.headers,
        models=tuple(row.models) if row.models is not None else spec.models,
        region=row.region if row.region is not None else spec.region,
        priority=row.priority if row.priority is not None else spec.priority,
        timeout_s=row.timeout_s if row.timeout_s is not None else spec.timeout_s,
        enabled=row.enabled if row.enabled is not None else spec.enabled,
        key_lost=row.key_lost,
        origin="stored",
    )


def _with_environment(spec: ProviderSpec, environ: Mapping[str, str]) -> ProviderSpec:
    row = bundled_providers().get(spec.name, {})
    key = next(filter(None, (environ.get(name, "").strip() for name in env_names(row, "key_env"))), "")
    base_url = next(filter(None, (environ.get(name, "").strip() for name in env_names(row, "base_url_env"))), "")
    needed = [(name, environ.get(name, "").strip()) for name in env_names(row, "shim_env")]
    more = [(name, environ.get(name, "").strip()) for name in env_names(row, "shim_env_optional")]
    others = tuple(pair for pair in [*needed, *more] if pair[1]) if all(value for _, value in needed) else ()
    if others:
        spec = replace(spec, environment=others, key_source="env" if spec.key_source == "none" else spec.key_source)
    if key:
        spec = replace(spec, api_key=key, key_source="env", origin="env")
    if base_url:
        spec = replace(_at(spec, base_url), origin="env")
    return spec


def check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise BadProvider("name", "a provider's name is 1 to 63 of a-z, 0-9 and -, not beginning with -")
    if name == MOCK:
        raise BadProvider("name", "the provider mock is built in")


def check_key(key: str) -> None:
    """A key is sent in a header: visible ASCII only."""
    if not key or len(key) > 4096 or not all("!" <= character <= "~" for character in key):
        raise BadProvider("api_key", "an API key is 1 to 4096 visible ASCII characters without spaces")


def check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _OURS:
            raise BadProvider("headers", f"{name!r} cannot be set as a header")
        if len(value) > 4096 or not value.isascii() or not value.isprintable():
            raise BadProvider("headers", f"the value of {name} is at most 4096 printable ASCII characters")
