from __future__ import annotations

import pytest

from instance.core.errors import REGISTRY, StockyardError, error_body


@pytest.mark.parametrize("code", REGISTRY)
def test_every_code_has_a_status_a_type_and_a_summary(code: str) -> None:
    row = REGISTRY[code]
    assert row.code == code
    assert 400 <= row.status < 600
    assert row.type.endswith(("_error", "_too_large", "_quota"))
    assert row.summary.endswith(".")


def test_an_error_takes_status_and_type_from_the_registry() -> None:
    error = StockyardError("budget_exceeded", "Wait until tomorrow.")
    assert (error.status, error.type, error.retryable) == (429, "insufficient_quota", False)


def test_what_is_raised_may_say_otherwise_about_repeating() -> None:
    assert StockyardError("rate_limited", "Wait.", retryable=False).retryable is False


def test_a_code_of_a_modules_own_brings_its_status() -> None:
    error = StockyardError("mymodule_refused", "No.", status=403, module="mymodule")
    assert (error.status, error.type) == (403, "permission_error")


def test_the_shape_is_the_one_that_both_sdks_parse() -> None:
    error = StockyardError("rate_limited", "Wait.", param="x", details={"a": 1})
    assert error_body(error, "req_1", "tr_1") == {
        "error": {
            "code": "rate_limited",
            "message": "Wait.",
            "status": 429,
            "type": "rate_limit_error",
            "param": "x",
            "request_id": "req_1",
            "trace_id": "tr_1",
            "doc": "/docs/errors#rate_limited",
            "details": {"a": 1},
        }
    }


def test_ids_and_details_that_are_not_there_are_left_out() -> None:
    shape = error_body(StockyardError("not_found", "No."))["error"]
    assert shape.keys() == {"code", "message", "status", "type", "param", "doc"}
