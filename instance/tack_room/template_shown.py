"""Templates and versions as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from instance.core.timestamps import rfc3339
from instance.tack_room.template import Template
from instance.tack_room.template_format import flattened

DAYS_SHOWN = 30


def shown(template: Template, calls_30d: int) -> dict[str, Any]:
    """A row of the list. A label that serves several versions is shown as a list of them."""
    return {
        "id": template.id,
        "slug": template.slug,
        "name": template.name,
        "description": template.description,
        "current_version": template.current_version,
        "labels": _labels(template),
        "tags": list(template.tags),
        "status": template.status,
        "model": template.model,
        "calls_30d": calls_30d,
        "created_at": rfc3339(template.created_at_ns),
        "updated_at": rfc3339(template.updated_at_ns),
    }


def _labels(template: Template) -> dict[str, Any]:
    labels: dict[str, Any] = {
        label: variants[0].version if len(variants) == 1 else [each._asdict() for each in variants]
        for label, variants in template.labels.items()
    }
    labels["latest"] = template.current_version
    return labels


def shown_version(template: Template, version: int, row: Mapping[str, Any]) -> dict[str, Any]:
    """A version: its head, and its content where the row has it."""
    content = row.get("content")
    head = {
        "version": version,
        "author": row["author"],
        "change_note": row["change_note"],
        "created_at": rfc3339(row["created_at_ns"]),
        "labels": template.labels_of(version),
    }
    if content is None:
        return {**head, "model": row["model"]}
    whole = {name: value for name, value in shown(template, 0).items() if name not in ("calls_30d", "labels")}
    return {**whole, **content, "content": flattened(content["messages"]), **head}
