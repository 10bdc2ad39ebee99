"""What the folds share: the decoded columns and the sums of a slice."""

from __future__ import annotations

from typing import Any

import orjson

from instance.core.records import Record
from instance.lookout.call_columns import CALL_COLUMNS
from instance.lookout.call_rows import NS_PER_MINUTE, call_rows, call_sums

NUMBERS = {
    "created_at_ns": 7 * NS_PER_MINUTE,
    "tokens_in": 1,
    "tokens_out": 2,
    "cost_nano": 10,
    "saved_nano": 0,
    "duration_us": 5,
    "bytes_out": 3,
}


def call(tags: dict[str, str] | None = None, **columns: Any) -> Record:
    values = {"status": "ok", "stream": False} | NUMBERS | columns
    detail = {"decisions": []} | ({"tags": tags} if tags else {})
    row = [values.get(name, "") for name in CALL_COLUMNS]
    return Record(1, 1, [orjson.dumps(row), orjson.dumps(detail), b"{}", b"", b""])


def test_calls_that_agree_are_one_sum() -> None:
    (sums,) = call_sums([call(cost_nano=10), call(cost_nano=0, tokens_in=4, created_at_ns=7 * NS_PER_MINUTE + 9)])
    assert (sums.minute, sums.calls, sums.paid_calls, sums.cost_nano, sums.tokens_in) == (7, 2, 1, 10, 5)
    assert sums.last_created_at_ns == 7 * NS_PER_MINUTE + 9


def test_calls_that_differ_in_minute_status_or_tags_are_summed_apart() -> None:
    records = [
        call(),
        call(created_at_ns=8 * NS_PER_MINUTE),
        call(status="error"),
        call({"b": "1", "a": "2"}),
        call({"a": "2", "b": "1"}),
    ]
    assert [(sums.minute, sums.status, sums.tags, sums.calls) for sums in call_sums(records)] == [
        (7, "ok", "", 1),
        (8, "ok", "", 1),
        (7, "error", "", 1),
        (7, "ok", '{"a":"2","b":"1"}', 2),
    ]


def test_a_text_that_reads_like_tags_is_none() -> None:
    record = call()
    record.parts[1] = orjson.dumps({"decisions": [{"note": '"tags":'}]})  # type: ignore[index]
    assert call_sums([record])[0].tags == ""


def test_records_of_an_older_or_a_newer_version_fit_the_columns() -> None:
    older, newer = call(), call()
    older.parts[0] = orjson.dumps(orjson.loads(older.parts[0])[:-2])  # type: ignore[index]
    newer.parts[0] = orjson.dumps([*orjson.loads(newer.parts[0]), "more"])  # type: ignore[index]
    assert [len(row) for row in call_rows([older, newer])] == [len(CALL_COLUMNS)] * 2
