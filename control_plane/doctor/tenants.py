"""Tenants that failed, images that are not the newest, and folders that belong to nobody."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from control_plane.config import Config
from control_plane.doctor.finding import Finding, Level, good
from control_plane.doctor.subject import Subject
from control_plane.store import overview
from control_plane.store.overview import Failed

NAMED_MOST = 5


class Remedy(NamedTuple):
    """What a failure's code means, and what to do."""

    why: str
    mend: str
    command: str


REMEDIES = {
    "instance_does_not_start": Remedy(
        "its instance ended, or did not become ready, several times in a row",
        "read the end of its log, mend what it names (image, settings, volume), then wake it",
        "stockyard-cloud tenants logs SLUG",
    ),
    "backup_unreadable": Remedy(
        "its volume is gone and its newest backup does not restore; it is never given an older past by itself",
        "see to the store and wake it, or decide on an older epoch or moment",
        "stockyard-cloud tenants restore SLUG --dry-run",
    ),
}
OTHERWISE = Remedy("it cannot be served", "its events say what was tried", "stockyard-cloud tenants events SLUG")


async def check_failed(subject: Subject) -> list[Finding]:
    """One finding for each code of failure."""
    return judge_failed(await subject.read(overview.failed))


def judge_failed(failed: Sequence[Failed]) -> list[Finding]:
    """Grouped by what is to be done."""
    if not failed:
        return [good("tenants", "none failed")]
    found = []
    for code in sorted({each.failure for each in failed}):
        slugs = [each.slug for each in failed if each.failure == code]
        remedy = REMEDIES.get(code, OTHERWISE)
        command = remedy.command.replace("SLUG", slugs[0])
        seen = f"{_named(slugs)}: failed, {code or 'no reason given'}"
        found.append(Finding("tenants", Level.BAD, seen, remedy.why, remedy.mend, command, "TenantFailed"))
    return found


async def check_images(subject: Subject) -> Finding:
    """Do all run the image that new tenants get?"""
    if subject.config.runtime == "process":
        return good("images", "instances run this installation's own code")
    return judge_images(await subject.read(overview.images), subject.config.image)


def judge_images(images: Mapping[str, int], newest: str) -> Finding:
    """Skew is expected during an upgrade, and a reminder after it."""
    others = {image: count for image, count in images.items() if image != newest}
    if not others:
        return good("images", f"every tenant is on {newest}")
    text = ", ".join(f"{count} on {image or 'none'}" for image, count in sorted(others.items())[:NAMED_MOST])
    why = "fixes of the newer image do not reach them"
    mend = "set their image (PUT /api/tenants/SLUG), a few at a time"
    return Finding("images", Level.WARN, f"{text}; new tenants get {newest}", why, mend, "", "ImageSkew")


async def check_unowned(subject: Subject) -> Finding:
    """Does every folder belong to a tenant?"""
    known = await subject.read(overview.slugs)
    return judge_unowned(unowned_folders(subject.config, known))


def unowned_folders(config: Config, known: Collection[str]) -> list[Path]:
    """Data, secrets and sockets that lie here for no tenant that there is."""
    found = []
    for folder in (config.tenants_dir, config.secrets_dir, config.sockets_dir):
        if folder.is_dir():
            found += [path for path in sorted(folder.iterdir()) if path.name.partition(".")[0] not in known]
    return found


def judge_unowned(paths: Sequence[Path]) -> Finding:
    """They take room, and may hold a customer's data that was to be gone."""
    if not paths:
        return good("folders", "each belongs to a tenant")
    why = "they take room, and may hold data of a customer who left, or who was made after the copy that was restored"
    mend = "make sure that nobody needs them (`ledger` names who was deleted), then move them away"
    seen = _named([str(path) for path in paths])
    return Finding("folders", Level.WARN, seen, why, mend, f"mv {paths[0]} /somewhere/else", "UnownedFolders")


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED_MOST} more" if len(names) > NAMED_MOST else ""
    return ", ".join(names[:NAMED_MOST]) + more
