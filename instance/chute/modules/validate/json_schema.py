"""JSON Schemas compiled once: patterns in linear time, references inside the schema only, errors as pointers."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

if TYPE_CHECKING:
    import jsonschema_rs

SCHEMA_MAX_BYTES = 256 * 1024
COMPILED_MAX = 256
MESSAGE_MAX_CHARS = 300


class BadSchema(ValueError):
    """What was given is no JSON Schema that can be used; the message says why."""


class Problem(NamedTuple):
    """One thing that does not fit: an RFC 6901 pointer into the value, and why in words."""

    pointer: str
    message: str


class CompiledSchema:
    """Drafts 7, 2019-09 and 2020-12, told by `$schema`. Nothing is fetched. Raises `BadSchema`."""

    __slots__ = ("_validator",)

    def __init__(self, schema: Any) -> None:
        import jsonschema_rs  # loaded with the first schema, not with the instance

        if not isinstance(schema, (dict, bool)):
            raise BadSchema("a schema is an object")
        if isinstance(schema, dict) and len(orjson.dumps(schema)) > SCHEMA_MAX_BYTES:
            raise BadSchema(f"a schema has at most {SCHEMA_MAX_BYTES} bytes")
        try:
            self._validator: jsonschema_rs.Validator = jsonschema_rs.validator_for(
                schema, pattern_options=jsonschema_rs.RegexOptions(), retriever=_nothing_is_fetched
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            raise BadSchema(_short(getattr(error, "message", "") or str(error))) from None

    def fits(self, value: Any) -> bool:
        """Whether the value satisfies the schema."""
        return bool(self._validator.is_valid(value))

    def problems(self, value: Any, most: int = 10) -> list[Problem]:
        """What does not fit, at most so many; empty when all does."""
        if self._validator.is_valid(value):
            return []
        found = []
        for error in self._validator.iter_errors(value):
            found.append(Problem(pointer_of(error.instance_path), _short(error.message)))
            if len(found) >= most:
                break
        return found


def compiled(schema: Any) -> CompiledSchema:
    """The schema compiled, from the ones used lately. Raises `BadSchema`."""
    return _compiled(orjson.dumps(schema, option=orjson.OPT_SORT_KEYS))


@lru_cache(maxsize=COMPILED_MAX)
def _compiled(text: bytes) -> CompiledSchema:
    return CompiledSchema(orjson.loads(text))


def pointer_of(path: Any) -> str:
    """The pointer of a path of keys and indexes."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def at_pointer(value: Any, pointer: str) -> tuple[bool, Any]:
    """What stands at a pointer, and whether anything does. An empty pointer is the whole value."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return False, None
    return True, value


def _nothing_is_fetched(uri: str) -> Any:
    raise ValueError("references lead into the schema itself only; nothing is fetched")


def _short(message: str) -> str:
    line = message.splitlines()[0] if message else "it is not valid"
    return line if len(line) <= MESSAGE_MAX_CHARS else line[: MESSAGE_MAX_CHARS - 1] + "…"
