"""Moving a whole instance: out of a data folder into a `.stockyard` file, and into one from it."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from instance.brand.ledger import head
from instance.core import arrival, backup, key_store, meta
from instance.core.core import SECRET_KEY_NAME, CoreOptions
from instance.core.data_folder import DataFolderError
from instance.core.money import nano_to_usd
from instance.core.portable import Contents, PortableError, Source, pack, unpack
from instance.core.principals import Principal
from instance.core.secrets import key_from_text
from instance.core.settings_sources import FILE_NAME, from_env, from_file, leaves, nested
from instance.core.timestamps import rfc3339_or_none
from instance.system.pushed_state import PushedKey
from instance.version import VERSION

STAYS = ("server", "max_database_bytes")
"""Settings of the machine, not of what runs on it."""
SECRET_NAMES = ("key", "token", "secret", "password", "headers")

_KEYS = TypeAdapter(list[PushedKey])


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written. `left_behind` are settings that the file does not carry."""

    bytes: int
    keys: int
    left_behind: list[str]


def export(
    options: CoreOptions, target: Path, passphrase: str, progress: Callable[[int, int], None] | None = None
) -> Exported:
    """Write the data folder's instance to a new file, also while it runs. Raises `DataFolderError`; then there is none."""
    folder = options.folder()
    if target.exists():
        raise DataFolderError(f"{target} exists already; name a new file")
    draft = target.with_name(target.name + ".part")
    try:
        with _beside(target.absolute().parent) as work:
            copy = work / "stockyard.db"
            backup.back_up(folder, copy, progress)
            secret_key = _secret_key(folder, options.env)
            settings, left_behind = _settings_to_carry(folder, options.env)
            with arrival.opened(copy) as connection:
                arrival.require_key(connection, secret_key)
                _store_settings(connection, settings)
                contents = _contents(connection, secret_key)
            packed = pack(contents, copy, passphrase)
            draft.unlink(missing_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                for chunk in packed.chunks():
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
    except (OSError, ValueError, sqlite3.Error, PortableError, arrival.Unfit) as problem:
        draft.unlink(missing_ok=True)
        raise DataFolderError(f"the export failed: {problem}") from problem
    return Exported(packed.size, len(contents.keys), left_behind)


@dataclass(frozen=True, slots=True)
class Arrived:
    """What a file brought. `kept` is where the database is now that was there before."""

    source: Source
    keys: int
    kept: Path | None


def arrive(options: CoreOptions, file: Path, passphrase: str, *, dry_run: bool = False) -> Arrived:
    """Make a file's instance that of the data folder, with its secret key and its keys; with `dry_run` only check it all.

    Raises `DataFolderError`; the folder is then as it was.
    """
    folder = options.folder()
    place = folder if not dry_run else Path(tempfile.gettempdir())
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with _beside(place) as work:
            copy = work / "stockyard.db"
            with file.open("rb") as stream:
                contents = unpack(stream, passphrase, copy)
            _require_same_key(options.env, contents.secret_key)
            principals = _principals(contents.keys)
            backup.check(copy)
            with arrival.opened(copy) as connection:
                arrival.require_key(connection, contents.secret_key)
                if contents.source.origin == "hosted":
                    _become_self_hosted(connection, principals)
            kept = None if dry_run else backup.restore(folder, copy, head, contents.secret_key)
    except (OSError, sqlite3.Error, PortableError, arrival.Unfit) as problem:
        raise DataFolderError(f"{file} cannot be restored: {problem}") from problem
    return Arrived(contents.source, len(principals), kept)


# --- out -------------------------------------------------------------------------------------------------------------


def _secret_key(folder: Path, env: Mapping[str, str]) -> bytes:
    given = env.get("STOCKYARD_SECRET_KEY")
    return key_from_text(given if given else (folder / SECRET_KEY_NAME).read_text())


def _settings_to_carry(folder: Path, env: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Settings of `stockyard.toml` by path, and the paths of those that stay: secrets, and what the environment says."""
    given = env.get("STOCKYARD_CONFIG")
    written = from_file(Path(given) if given else folder / FILE_NAME, required=False)
    carried: dict[str, Any] = {}
    left = [f"{path} (environment)" for path in leaves(from_env(env))]
    for names, value in _leaves(written):
        path = ".".join(names)
        if names[0] in STAYS:
            continue
        if nested({path: value}) == _written_as(names, value) and not _holds_secret(path):
            carried[path] = value
        else:
            left.append(f"{path} ({FILE_NAME})")
    return carried, sorted(left)


def _leaves(values: Mapping[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*before, name))
        else:
            yield (*before, name), value


def _written_as(names: tuple[str, ...], value: Any) -> Any:
    """The document that the file has; a path says another where a name holds a dot."""
    for name in reversed(names):
        value = {name: value}
    return value


def _holds_secret(path: str) -> bool:
    return any(word in part for part in path.lower().split(".")[1:] for word in SECRET_NAMES)


def _store_settings(connection: sqlite3.Connection, settings: Mapping[str, Any]) -> None:
    """What the API stored wins, as it did over the file."""
    now = time.time_ns()
    rows = [(path, orjson.dumps(value).decode(), now) for path, value in settings.items()]
    connection.executemany("INSERT OR IGNORE INTO settings (path, value, updated_at_ns) VALUES (?, ?, ?)", rows)


def _contents(connection: sqlite3.Connection, secret_key: bytes) -> Contents:
    seq, entry_hash = head(connection)
    source = Source(
        origin="self-hosted",
        name=platform.node()[:100] or "self-hosted",
        version=VERSION,
        epoch=meta.get(connection, meta.EPOCH),
        ledger_seq=seq,
        ledger_hash=entry_hash.hex(),
        made_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    )
    now = time.time_ns()
    keys = [_key_row(key) for key in key_store.principals(connection) if _works(key, now)]
    return Contents(source, {}, keys, secret_key)


def _works(key: Principal, now_ns: int) -> bool:
    return not key.revoked and not (key.expires_at_ns and now_ns >= key.expires_at_ns)


def _key_row(key: Principal) -> dict[str, Any]:
    """A key as a control plane pushes one."""
    budget = nano_to_usd(key.budget_month_nano) if key.budget_month_nano else None
    limits = {
        "models": list(key.models),
        "ip_allow": list(key.ip_allow),
        "rpm": key.rpm or None,
        "budget_usd_month": budget,
    }
    return {
        "id": key.key_id,
        "sha256": key.digest.hex(),
        "prefix": key.prefix,
        "name": key.name,
        "kind": key.kind,
        "scopes": sorted(key.scopes),
        "limits": limits,
        "expires_at": rfc3339_or_none(key.expires_at_ns),
        "user": key.user or None,
        "team": key.team or None,
    }


# --- in --------------------------------------------------------------------------------------------------------------


def _require_same_key(env: Mapping[str, str], secret_key: bytes) -> None:
    given = env.get("STOCKYARD_SECRET_KEY")
    try:
        fits = not given or key_from_text(given) == secret_key
    except ValueError:
        fits = False
    if not fits:
        raise arrival.Unfit(
            "STOCKYARD_SECRET_KEY is set, and is not the key that its secrets are sealed under; unset it, the right one "
            f"will be in {SECRET_KEY_NAME}"
        )


def _principals(rows: list[Any]) -> list[Principal]:
    try:
        return [key.principal() for key in _KEYS.validate_python(rows)]
    except (ValidationError, ValueError) as problem:
        first = problem.errors()[0]["msg"] if isinstance(problem, ValidationError) else problem
        raise PortableError(f"its keys cannot be read: {first}") from None


def _become_self_hosted(connection: sqlite3.Connection, principals: list[Principal]) -> None:
    """The keys that the control plane pushed are the instance's own from now on, and the only ones."""
    connection.execute("BEGIN IMMEDIATE")
    arrival.leave_plane(connection)
    for principal in principals:
        principal.origin = "local"
    key_store.replace_all(connection, principals, time.time_ns())
    connection.execute("COMMIT")


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A folder for what is being made, on the same disk as where it goes; gone afterwards."""
    work = Path(tempfile.mkdtemp(prefix=".moving-", dir=folder))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
