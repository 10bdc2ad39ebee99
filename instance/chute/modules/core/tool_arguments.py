"""Rules on the arguments of tool calls: what a value must look like, where a path or an address may lead."""

from __future__ import annotations

import posixpath
import socket
import unicodedata
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import orjson
import re2
from pydantic import BaseModel, ConfigDict, Field, model_validator

from instance.brand.policy import compiled
from instance.chute.modules.core.sql_reading import why_not_reading
from instance.chute.modules.validate.json_schema import at_pointer
from instance.core.address_policy import is_public

Kind = Literal["re2", "values", "path", "url", "sql_readonly", "max_chars"]
UNQUOTED_MAX = 4
"""So often is a text decoded before its path is judged; one that still changes is refused."""
LOCAL_SUFFIXES = (".local", ".localhost", ".internal", ".lan", ".home", ".corp", ".intranet", ".home.arpa", ".onion")


class ArgumentRule(BaseModel):
    """What an argument must be. One that is not there is not judged: the tool's schema says whether it must be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tool: str = Field(default="*", min_length=1, max_length=128, description="Glob of the tool's name.")
    pointer: str = Field(
        default="", max_length=500, description="RFC 6901 pointer to the argument; empty: all of them."
    )
    kind: Kind = Field(description="What is checked.")
    value: Any = Field(
        default=None,
        description="re2: an expression that the whole text must match; values: the allowed ones; path: folders that it lies in; "
        "url: globs of hosts (empty: any public one); max_chars: a number.",
    )

    @model_validator(mode="after")
    def _usable(self) -> ArgumentRule:
        value = self.value
        texts = isinstance(value, list) and len(value) <= 200 and all(isinstance(each, str) and each for each in value)
        if self.pointer and not self.pointer.startswith("/"):
            raise ValueError("a pointer begins with /")
        if self.kind == "re2":
            if not isinstance(value, str) or not value:
                raise ValueError("re2 needs an expression as its value")
            compiled(value)
        elif self.kind == "values":
            if not isinstance(value, list) or not 1 <= len(value) <= 1000:
                raise ValueError("values needs a list of 1 to 1000 values")
        elif self.kind == "path":
            if not texts or not value or any(".." in folder.split("/") for folder in value):
                raise ValueError("path needs a list of folders, without ..")
        elif self.kind == "url":
            if value is not None and not texts:
                raise ValueError("url needs a list of globs of hosts")
        elif self.kind == "max_chars" and (type(value) is not int or value < 0):
            raise ValueError("max_chars needs a number of characters")
        return self


class Check:
    """One rule made ready. `fault(arguments)` says what is wrong with them, never their values; empty when nothing is."""

    __slots__ = ("_judge", "rule")

    def __init__(self, rule: ArgumentRule) -> None:
        self.rule = rule
        self._judge = _JUDGES[rule.kind](rule.value)

    def covers(self, tool: str) -> bool:
        return self.rule.tool == "*" or fnmatchcase(tool, self.rule.tool)

    def fault(self, arguments: Any) -> str:
        there, value = at_pointer(arguments, self.rule.pointer)
        return self._judge(value) if there else ""


Judge = Callable[[Any], str]


def _each_text(judge: Callable[[str], str]) -> Judge:
    """The judge for a text, or for each of a list of texts; anything else is refused."""

    def judged(value: Any) -> str:
        if isinstance(value, str):
            return judge(value)
        if isinstance(value, list):
            return next((why for why in map(judged, value) if why), "")
        return "it is not a text"

    return judged


def _matching(expression: str) -> Judge:
    pattern = re2.compile(expression)
    return _each_text(lambda text: "" if pattern.fullmatch(text) else "it does not match the expression")


def _one_of(values: list[Any]) -> Judge:
    known = {orjson.dumps(value, option=orjson.OPT_SORT_KEYS) for value in values}

    def judged(value: Any) -> str:
        return "" if orjson.dumps(value, option=orjson.OPT_SORT_KEYS) in known else "it is none of the allowed values"

    return judged


def _inside(folders: list[str]) -> Judge:
    roots = [posixpath.normpath(folder) for folder in folders]

    def judged(text: str) -> str:
        for form in _path_forms(text):
            if not form or "\0" in form:
                return "it is no path"
            parts = form.split("/")
            if ".." in parts or form.startswith("~"):
                return "it leads out of its folder"
            path = posixpath.normpath(form)
            if not any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots):
                return "it lies outside of the allowed folders"
        return ""

    return _each_text(judged)


def _path_forms(text: str) -> Iterator[str]:
    """The path as whoever opens it may read it: as it stands, and decoded, normalised, with the other slashes. A path whose
    decoding does not end is given as one that lies nowhere."""
    form = text
    for _ in range(UNQUOTED_MAX):
        shown = form.removeprefix("file://")
        yield shown
        yield unicodedata.normalize("NFKC", shown).replace("\\", "/")
        decoded = unquote(form)
        if decoded == form:
            return
        form = decoded
    yield "\0"


def _at_host(hosts: list[str] | None) -> Judge:
    globs = [host.lower() for host in hosts or ()]

    def judged(text: str) -> str:
        if any(sign.isspace() or sign in '\\<>"`{}|^' or not sign.isprintable() for sign in text):
            return "it is no address"
        try:
            parts = urlsplit(text)
            host, _ = parts.hostname, parts.port
        except ValueError:
            return "it is no address"
        if parts.scheme.lower() not in ("http", "https") or not host:
            return "it is no http or https address"
        if "@" in parts.netloc:
            return "it holds a name and password"
        host = unicodedata.normalize("NFKC", unquote(host)).rstrip(".").lower()
        if _is_private(host):
            return "it leads to a private address"
        return "" if not globs or any(fnmatchcase(host, glob) for glob in globs) else "its host is not allowed"

    return _each_text(judged)


def _is_private(host: str) -> bool:
    """Whether a host is an address that is not public, in any way of writing it, or a name that only a local network knows."""
    if ":" in host:
        return not is_public(host)
    try:
        address = socket.inet_ntoa(
            socket.inet_aton(host)
        )  # takes 127.1, 0x7f.1 and 2130706433 as the system's own calls do
    except OSError:
        return "." not in host or host.endswith(LOCAL_SUFFIXES) or not host.replace(".", "").replace("-", "").isalnum()
    return not is_public(address)


def _short(most: int) -> Judge:
    def judged(value: Any) -> str:
        size = len(value) if isinstance(value, str) else len(orjson.dumps(value))
        return "" if size <= most else f"it has more than {most} characters"

    return judged


_JUDGES: dict[str, Callable[[Any], Judge]] = {
    "re2": _matching,
    "values": _one_of,
    "path": _inside,
    "url": _at_host,
    "sql_readonly": lambda value: _each_text(why_not_reading),
    "max_chars": _short,
}
