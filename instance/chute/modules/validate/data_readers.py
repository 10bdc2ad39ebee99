"""Readers of data languages: the line of the first error, 0 when there is none, and the names and values in the text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from instance.chute.modules.validate.code_finding import Skipped
from instance.chute.modules.validate.data_code import Entry, entries_of, entries_of_yaml

Read = tuple[int, Iterator[Entry]]
_NOTHING: tuple[Entry, ...] = ()
_TEMPLATE = re.compile(r"\{\{|\{%")


def read_json(code: str) -> Read:
    try:
        return 0, entries_of(json.loads(code), code)
    except json.JSONDecodeError as error:
        return error.lineno, iter(_NOTHING)
    except (ValueError, RecursionError):
        return 1, iter(_NOTHING)


def _toml(code: str) -> Read:
    import tomllib

    try:
        return 0, entries_of(tomllib.loads(code), code)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        return int(line.group(1)) if line else 1, iter(_NOTHING)
    except RecursionError:
        return 1, iter(_NOTHING)


def _yaml(code: str) -> Read:
    """Raises `Skipped` where the parser is not installed, and for a template, which is no YAML before it is filled in."""
    try:
        import yaml
    except ImportError:
        raise Skipped("yaml") from None
    try:
        # Nodes only: nothing is built of them.
        return 0, entries_of_yaml(iter(list(yaml.compose_all(code, Loader=yaml.SafeLoader))))
    except (yaml.YAMLError, RecursionError) as error:
        if _TEMPLATE.search(code):
            raise Skipped("yaml with a template") from None
        mark: Any = getattr(error, "problem_mark", None)
        return mark.line + 1 if mark is not None else 1, iter(_NOTHING)


def _xml(code: str) -> Read:
    from xml.parsers import expat

    parser = expat.ParserCreate()
    entries: list[Entry] = []
    path: list[str] = [""]

    def refuse(*_: object) -> None:
        raise Skipped("xml with entities of its own")

    def opens(name: str, attributes: dict[str, str]) -> None:
        path.append(name)
        entries.extend((name, key, value, parser.CurrentLineNumber) for key, value in attributes.items())
        if "value" in attributes:  # <add key="Password" value=".."/>
            named = attributes.get("key") or attributes.get("name") or ""
            entries.append((name, named, attributes["value"], parser.CurrentLineNumber))

    def closes(_: str) -> None:
        path.pop()

    def text(said: str) -> None:
        if said.strip():
            entries.append((path[-2] if len(path) > 1 else "", path[-1], said.strip(), parser.CurrentLineNumber))

    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = opens
    parser.EndElementHandler = closes
    parser.CharacterDataHandler = text
    parser.buffer_text = True
    try:
        parser.Parse(code.strip(), True)
    except expat.ExpatError as error:
        return error.lineno, iter(entries)
    return 0, iter(entries)


DATA: dict[str, Callable[[str], Read]] = {"json": read_json, "toml": _toml, "yaml": _yaml, "xml": _xml}
