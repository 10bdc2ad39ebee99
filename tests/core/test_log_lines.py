"""What a line of the log holds, and what it never does."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from instance.core import log_lines
from instance.core.keys import PREFIXES, make_key
from instance.core.log_lines import JsonLine, TextLine


def record(message: str, *arguments: object, error: BaseException | None = None) -> logging.LogRecord:
    found = (type(error), error, error.__traceback__) if error is not None else None
    return logging.LogRecord("stockyard.test", logging.WARNING, __file__, 1, message, arguments, found)


def failed() -> ValueError:
    try:
        raise ValueError(f"refused {make_key('admin')}")
    except ValueError as error:
        return error


def test_a_line_is_one_json_object_of_the_schema() -> None:
    log_lines.tenant.set("acme")
    log_lines.request_id.set("req_1")
    log_lines.trace_id.set("tr_1")
    line = JsonLine().format(record("two\nlines %s", "é", error=failed()))
    assert "\n" not in line
    found = json.loads(line)
    assert list(found) == ["ts", "level", "logger", "message", "tenant", "request_id", "trace_id", "error"]
    assert (found["level"], found["logger"], found["message"]) == ("warning", "stockyard.test", "two\nlines é")
    assert "ValueError" in found["error"]


def test_what_is_not_known_is_left_out() -> None:
    log_lines.tenant.set("")
    log_lines.request_id.set("")
    log_lines.trace_id.set("")
    assert list(json.loads(JsonLine().format(record("x")))) == ["ts", "level", "logger", "message"]


def test_an_instance_names_its_tenant_on_every_line() -> None:
    assert json.loads(JsonLine("acme").format(record("x")))["tenant"] == "acme"


def test_a_person_reads_the_same_as_text() -> None:
    text = TextLine("acme").format(record("it broke", error=failed()))
    assert "WARNING stockyard.test it broke [tenant=acme" in text
    assert text.rstrip().endswith("…")


@pytest.mark.parametrize("kind", PREFIXES)
def test_no_key_of_any_kind_is_ever_on_a_line(kind: str) -> None:
    key = make_key(kind)
    for line in (JsonLine(), TextLine()):
        for written in (record("got %s here", key), record(f"Authorization: Bearer {key}"), record("{'k': '%s'}", key)):
            assert key not in line.format(written)
            assert key[12:] not in line.format(written)


@pytest.mark.parametrize(
    "secret", ["sk-proj-abcdefghijklmnop0123", "Bearer eyJhbGciOi.abcdefgh", "bearer abcdefghijkl"]
)
def test_no_provider_key_and_no_token_is_on_a_line(secret: str) -> None:
    assert secret not in JsonLine().format(record("header %s", secret))


def test_words_that_only_look_like_keys_are_left_alone() -> None:
    message = "the task-scheduler of sy_b wrote sk-1 to the disk"
    assert json.loads(JsonLine().format(record(message)))["message"] == message


def test_a_key_in_an_error_is_cut_too() -> None:
    error = failed()
    assert str(error)[12:] not in JsonLine().format(record("x", error=error))


@pytest.mark.parametrize(
    ("form", "terminal", "as_json"),
    [("auto", True, False), ("auto", False, True), ("json", True, True), ("text", False, False)],
)
def test_the_form_follows_the_setting_and_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: str, terminal: bool, as_json: bool
) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
        root.handlers = []
        log_lines.set_up(form, logging.INFO)
        logging.getLogger("stockyard.x").info("said")
        assert capsys.readouterr().err.startswith("{") is as_json
    finally:
        root.handlers = before
        root.setLevel(level)
