"""The reference page of the bundled providers, from `instance/chute/data/providers.toml` and the dialects' own defaults."""

from __future__ import annotations

from typing import Any

from docs.schema_table import cell, markdown
from instance.chute.provider_dialects import PROVIDER_DIALECTS, openai_base_url
from instance.chute.provider_spec import bundled_providers, env_names

INTRO = """# Providers

Stockyard knows {count} providers. One is used as soon as its key is in the environment, in `stockyard.toml` (`[providers.NAME]`) or
stored with `POST /api/proxy/providers`; each value below can be set otherwise there. Any other provider is added under a name of
your own, with its `type` (the dialect it speaks) and `base_url`:

```toml
[providers.my-gateway]
type = "openai"
base_url = "https://gateway.example/v1"
api_key = "…"
```

A model is called as `provider/model`; a bare name goes to the provider whose prefix it has. The module of a dialect (a *shim*)
translates; while it is off, a provider is called at its OpenAI-compatible address, if it has one.

## Types

| type | key is sent as | OpenAI-compatible at | taken there as they are |
| --- | --- | --- | --- |
"""


def providers_page() -> str:
    """The page's text."""
    rows = bundled_providers()
    text = INTRO.format(count=len(rows))
    for name, dialect in PROVIDER_DIALECTS.items():
        key = {
            "bearer": "`Authorization: Bearer`",
            "header": f"`{dialect.auth_header}`",
            "none": "nothing, or `Authorization: Bearer`",
            "shim": "signed by its shim",
        }[dialect.auth]
        path = {None: "nowhere", "": "its base URL"}.get(dialect.openai_path, f"`{dialect.openai_path}`")
        text += f"| `{name}` | {key} | {path} | {_codes(dialect.speaks) if dialect.openai_path is not None else ''} |\n"
    text += "\n## Bundled providers\n\n"
    table = []
    for name, row in rows.items():
        kind = row.get("type", "openai")
        base_url = row.get("base_url", "")
        table.append(
            [
                f"`{name}`",
                f"[{cell(row['title'])}]({row['docs']})",
                f"`{kind}`",
                f"`{base_url}`" if base_url else "none: set its variable",
                _codes(env_names(row, "key_env")),
                _codes(env_names(row, "base_url_env")),
                _codes(row.get("prefixes", ())),
            ]
        )
    text += markdown(["name", "provider", "type", "base URL", "key from", "base URL from", "prefixes"], table)
    text += "\n## What else is to know of them\n\n"
    for name, row in rows.items():
        said = _more(row, row.get("type", "openai"))
        if said:
            text += f"- `{name}`: {' '.join(said)}\n"
    return text


def _more(row: dict[str, object], kind: str) -> list[str]:
    said = []
    speaks = row.get("speaks", PROVIDER_DIALECTS[kind].speaks)
    if "speaks" in row:
        said.append(f"Takes as they are: {_codes(speaks)}.")
    if "openai_base_url" in row and row["openai_base_url"] != openai_base_url(kind, str(row.get("base_url", ""))):
        said.append(f"OpenAI-compatible at `{row['openai_base_url']}`.")
    if not row.get("stream_usage", True):
        said.append("Refuses `stream_options`.")
    if not row.get("lists_models", True):
        said.append("Gives no list of its models: name those you use in `models`.")
    if row.get("shared_key"):
        said.append(
            "Called only when named, as its variables are set for other ends too, unless configured or stored here."
        )
    if "note" in row:
        said.append(str(row["note"]))
    if "unverified" in row:
        said.append(f"Not verified: {row['unverified']}.")
    return said


def _codes(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)
