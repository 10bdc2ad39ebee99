from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from instance.core.errors import StockyardError
from instance.core.instance_file import read_instance_file

GOOD: dict[str, Any] = {
    "epoch": 3,
    "previous_head": None,
    "instance_key": "sy_inst_secret",
    "secret_key": "s" * 43,
    "slug": "acme",
}


def written(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "instance.json"
    path.write_text(content)
    return path


def test_a_good_file_is_read_and_a_newer_planes_fields_are_ignored(tmp_path: Path) -> None:
    read = read_instance_file(written(tmp_path, json.dumps(GOOD | {"new_field": 1})))
    assert (read.epoch, read.slug, read.instance_key.get_secret_value()) == (3, "acme", "sy_inst_secret")


def test_secrets_are_not_in_its_representation(tmp_path: Path) -> None:
    assert "sy_inst_secret" not in repr(read_instance_file(written(tmp_path, json.dumps(GOOD))))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (json.dumps(GOOD | {"epoch": 0}), "epoch"),
        (json.dumps({"epoch": 1}), "instance_key"),
        (json.dumps(GOOD | {"previous_head": {"seq": 1, "hash": "x"}}), "previous_head.hash"),
        ("not json", "not JSON"),
    ],
)
def test_a_bad_file_is_refused_saying_what_is_wrong_and_no_secret(tmp_path: Path, content: str, named: str) -> None:
    with pytest.raises(StockyardError, match=named) as caught:
        read_instance_file(written(tmp_path, content))
    assert "sy_inst_secret" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StockyardError, match=r"none\.json"):
        read_instance_file(tmp_path / "none.json")
