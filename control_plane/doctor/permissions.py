"""Who may read secrets and reach sockets: the mode and owner that every path of the data folder must have."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from control_plane.config import Config
from control_plane.doctor.finding import Finding, Level, good
from control_plane.runtimes import instance_owner

NAMED_MOST = 5
RUNBOOK = "SecretsExposed"


class Rule(NamedTuple):
    """`most` are the permission bits a path may have at most; `owner` the user id it must belong to."""

    path: Path
    most: int
    owner: int


def secret_rules(config: Config, own: int) -> Iterator[Rule]:
    """Files and folders that hold keys, digests or customers' data."""
    inside = instance_owner(config)
    tenant = own if inside is None else inside
    yield Rule(config.data, 0o700, own)
    yield Rule(config.secrets_dir, 0o700, own)
    for path in (config.operator_key_file, config.master_key_file, config.database_file):
        yield Rule(path, 0o600, own)
    for path in sorted(config.run_dir.glob("snapshot*")):  # digests of keys
        yield Rule(path, 0o700 if path.is_dir() else 0o600, own)
    for folder in _children(config.secrets_dir):
        yield Rule(folder, 0o700, own)
        yield Rule(folder / "instance.json", 0o400, tenant)
    for folder in _children(config.tenants_dir):
        if "." not in folder.name:  # what is staged or kept aside is the plane's until it is activated
            yield Rule(folder, 0o750, tenant)
            yield Rule(folder / "stockyard.db", 0o640, tenant)


def socket_rules(config: Config, own: int) -> Iterator[Rule]:
    """Sockets, and the folders through which they are reached."""
    inside = instance_owner(config)
    tenant = own if inside is None else inside
    yield Rule(config.run_dir, 0o755, own)  # the data folder around it is closed to others
    yield Rule(config.edge_dir, 0o755, own)
    for socket in (config.activator_socket, config.litestream_socket, config.run_dir / "waking.sock"):
        yield Rule(socket, 0o600, own)
    for folder in _children(config.sockets_dir):
        yield Rule(folder, 0o750, tenant)
        yield Rule(folder / "own.sock", 0o660, tenant)


def broken_rules(rules: Iterable[Rule]) -> list[str]:
    """Each path that more people reach than may, with what is wrong; paths that are not there break nothing."""
    found = []
    for rule in rules:
        try:
            seen = rule.path.lstat()
        except OSError:
            continue
        mode = stat.S_IMODE(seen.st_mode)
        if mode & ~rule.most:
            found.append(f"{rule.path} is {mode:04o}, at most {rule.most:04o} is right")
        if seen.st_uid != rule.owner:
            found.append(f"{rule.path} belongs to user {seen.st_uid}, not {rule.owner}")
    return found


def judge_secrets(config: Config) -> Finding:
    """Are secrets closed to others?"""
    why = "whoever reads them can act as the operator or as a tenant"
    return _judge("secrets", broken_rules(secret_rules(config, os.geteuid())), why)


def judge_sockets(config: Config) -> Finding:
    """Are sockets closed to others?"""
    why = "whoever reaches them goes past the edge, its headers and its limits"
    return _judge("sockets", broken_rules(socket_rules(config, os.geteuid())), why)


def _judge(name: str, wrong: list[str], why: str) -> Finding:
    if not wrong:
        return good(name, "closed to everybody else")
    more = f", and {len(wrong) - NAMED_MOST} more" if len(wrong) > NAMED_MOST else ""
    command = "chmod MODE PATH; chown OWNER PATH"
    mend = "give them back, then ask how they were opened; change keys that others could read"
    return Finding(name, Level.BAD, "; ".join(wrong[:NAMED_MOST]) + more, why, mend, command, RUNBOOK)


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:
        return []
