"""The alert rules: valid, about metrics that there are, each with its page, and each page with its alert."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.control_plane.conftest import Api

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus-alerts.yml"
PAGES = ROOT / "docs" / "runbooks"
HEADINGS = ["## Meaning", "## Impact", "## How to see it", "## How to mend it"]
DURATION = re.compile(r"^\d+[smhd]$")
METRIC = re.compile(r"\bstockyard_cloud_\w+")
CHECK = re.compile(r'check=~?"([^"]+)"')
SUFFIXES = ("", "_bucket", "_sum", "_count")


def alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load(RULES.read_text())
    assert list(document) == ["groups"]
    return [rule for group in document["groups"] for rule in group["rules"]]


def test_every_rule_has_what_prometheus_asks_for() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len(set(names)) >= 20
    for rule in alerts():
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}, rule
        assert DURATION.match(rule["for"]), rule
        assert rule["labels"]["severity"] in ("page", "ticket")
        for opening, closing in ("()", "{}", "[]"):
            assert rule["expr"].count(opening) == rule["expr"].count(closing), rule["expr"]


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    pages = {path.stem for path in PAGES.glob("*.md")} - {"README"}
    assert {rule["alert"] for rule in alerts()} == pages
    for rule in alerts():
        assert rule["annotations"]["runbook"] == f"docs/runbooks/{rule['alert']}.md"
        assert f"({rule['alert']}.md)" in (PAGES / "README.md").read_text()


@pytest.mark.parametrize("page", sorted(set(PAGES.glob("*.md")) - {PAGES / "README.md"}), ids=lambda page: page.stem)
def test_every_page_says_what_it_means_and_how_to_mend_it(page: Path) -> None:
    text = page.read_text()
    assert [heading for heading in HEADINGS if heading not in text] == []


async def test_every_metric_and_check_that_a_rule_names_exists(api: Api) -> None:
    found = {check["name"]: check for check in (await api("GET", "/api/doctor")).json()["checks"]}
    text = (await api("GET", "/metrics")).text
    known = {name + suffix for name in re.findall(r"^# TYPE (\S+)", text, re.M) for suffix in SUFFIXES}
    docker_only = {"firewall", "network", "image", "live_restore"}
    for rule in alerts():
        assert set(METRIC.findall(rule["expr"])) <= known, rule["expr"]
        for names in CHECK.findall(rule["expr"]):
            assert set(names.split("|")) <= found.keys() | docker_only, rule["expr"]


async def test_every_finding_that_is_not_in_order_names_a_page_that_there_is(api: Api) -> None:
    checks = (await api("GET", "/api/doctor")).json()["checks"]
    named = [check["runbook"] for check in checks if check["runbook"]]
    assert named and all((ROOT / page).is_file() for page in named)


def test_every_page_that_the_doctor_may_name_exists() -> None:
    folder = ROOT / "control_plane" / "doctor"
    text = "".join(path.read_text() for path in folder.glob("*.py"))
    named = set(re.findall(r'(?<!get\()"((?:[A-Z][a-z]+){2,})"', text))
    assert len(named) > 10
    assert {name for name in named if not (PAGES / f"{name}.md").is_file()} == set()
