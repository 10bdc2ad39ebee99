"""A template as the table holds it: its name, state, versions and labels; how a call names one of its versions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

from instance.chute.call_identity import BUCKETS, bucket

Status = Literal["draft", "active", "archived"]
SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")
LATEST = "latest"
_REFERENCE = re.compile(r"([a-z0-9][a-z0-9-]{0,62})(?:@([A-Za-z0-9_-]{1,63}))?")


class Variant(NamedTuple):
    """One version that a label serves, with its weight among the others."""

    version: int
    weight: float = 1.0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """One row of the table; a change replaces it."""

    id: int
    slug: str
    name: str
    description: str
    tags: tuple[str, ...]
    status: Status
    current_version: int
    model: str
    labels: dict[str, tuple[Variant, ...]]
    created_at_ns: int
    updated_at_ns: int

    def choose(self, label: str, unit: str) -> Variant | None:
        """The label's version for a unit (a session, user or key), always the same while the label stays; `None`: no such label."""
        variants = self.labels.get(label)
        if variants is None:
            return Variant(self.current_version) if label == LATEST else None
        if len(variants) == 1:
            return variants[0]
        total = sum(variant.weight for variant in variants)
        place = bucket(f"template/{self.slug}/{label}", unit) / BUCKETS * total
        reached = 0.0
        for variant in variants:
            reached += variant.weight
            if place < reached:
                return variant
        return variants[-1]

    def labels_of(self, version: int) -> list[str]:
        """The labels that serve a version."""
        found = [label for label, variants in self.labels.items() if any(each.version == version for each in variants)]
        return sorted([*found, LATEST] if version == self.current_version else found)


class Reference(NamedTuple):
    """`slug`, `slug@3`, `slug@label`, taken apart; version 0 and no label: the default."""

    slug: str
    version: int
    label: str


def reference(text: str) -> Reference | None:
    """What a text names; `None` for what is no reference."""
    match = _REFERENCE.fullmatch(text.strip())
    if match is None:
        return None
    slug, rest = match.group(1), match.group(2) or ""
    if rest.isdigit():
        return Reference(slug, int(rest), "") if len(rest) <= 9 else None
    return Reference(slug, 0, rest)


def slug_of(name: str) -> str:
    """A slug made from a name; empty when nothing of it can stand in one."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].strip("-")
