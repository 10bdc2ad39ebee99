"""What every app stands on, opened together: data folder, database, journal, writer, settings, keys, secrets."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from instance.core import epochs, key_store, meta
from instance.core.clock import Clock
from instance.core.data_folder import DatabaseMissing, DataFolderError, FolderLock
from instance.core.database import Database
from instance.core.epochs import EpochChange, LedgerHead
from instance.core.errors import StockyardError
from instance.core.first_keys import FirstKeys, env_admin, make_first_keys
from instance.core.instance_file import ENV_NAME, InstanceFile, read_instance_file
from instance.core.journal import Journal
from instance.core.keys import DEFAULT_SCOPES, display, hash_key
from instance.core.principals import KeyTable, Principal
from instance.core.schedule import Schedule
from instance.core.secrets import SecretBox, SecretError, key_from_text, load_or_make
from instance.core.settings import Settings
from instance.core.writer import LedgerEvent, Writer

DATABASE_NAME = "stockyard.db"
SECRET_KEY_NAME = "secret.key"
LAST_USED_FLUSH_S = 60.0

log = logging.getLogger("stockyard.core")


@dataclass(frozen=True, slots=True)
class CoreOptions:
    """How to open a core. `flags` are settings by path; `components` are (name, folder of migrations) of the apps."""

    data_dir: Path | None = None
    config_file: Path | None = None
    flags: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    components: Sequence[tuple[str, Path]] = ()
    clock: Clock = field(default_factory=Clock)

    def folder(self) -> Path:
        """The data folder: as given, else STOCKYARD_DATA, else `~/.stockyard`."""
        given = self.data_dir or self.env.get("STOCKYARD_DATA")
        return Path(given).expanduser() if given else Path.home() / ".stockyard"


class Core:
    """Opened by `Core.open`; then the apps register their folds and the ledger; then `start`; at the end `close`.

    It knows nothing of the apps. `services` is where they find each other, by name.
    """

    def __init__(
        self,
        options: CoreOptions,
        data_dir: Path,
        lock: FolderLock,
        database: Database,
        connection: sqlite3.Connection,
        hosted: InstanceFile | None,
    ) -> None:
        """`Core.open` calls it; raises `StockyardError` or `DataFolderError` when the folder's content does not fit."""
        self.options = options
        self.clock = options.clock
        self.data_dir = data_dir
        self.database = database
        self.hosted = hosted
        """What the control plane handed over; `None` for a self-hosted instance."""
        self.services: dict[str, Any] = {}
        self.schedule = Schedule()
        self.first_keys: FirstKeys | None = None
        """The keys that the first boot made: to be shown once, then set to `None`."""
        self._lock = lock
        self._connection = connection
        self._flusher: asyncio.Task[None] | None = None
        self.settings, self.sources = self._load_settings(_stored_settings(connection))
        self.secrets = self._open_secrets(connection)
        self.keys = KeyTable([self._instance_principal(hosted)] if hosted else ())
        change = epochs.change_needed(connection, hosted)
        self._change: EpochChange | None = change
        position = meta.position(connection)
        self.epoch = change.epoch if change else position.epoch
        self._left_behind = _left_behind(data_dir / "journal", change, position) if hosted else None
        sequence, also = position.sequence, ""
        if self._left_behind is not None:
            sequence, also = self._left_behind.sequence, self._left_behind.epoch
        self.journal = Journal(data_dir / "journal", self.epoch)
        self.journal.open(sequence, 0 if change else position.segment, also=also)
        self.writer = Writer(database, self.journal, connection, position.sequence)
        self.writer.limit_database(self.settings.max_database_bytes, by="settings")

    @classmethod
    async def open(cls, options: CoreOptions) -> Core:
        """Lock and open the data folder; nothing is folded and no thread runs yet.

        Raises `DataFolderError` (in use, damaged, missing, newer, on a network disk) or `StockyardError` (settings).
        """
        hosted = read_instance_file(Path(options.env[ENV_NAME])) if options.env.get(ENV_NAME) else None
        data_dir = options.folder()
        may_make = hosted is None or hosted.fresh
        if not may_make and not (data_dir / DATABASE_NAME).exists():
            raise DatabaseMissing(f"there is no database in {data_dir}, and this start must not make one")
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = FolderLock(data_dir)
        except OSError as error:
            raise DataFolderError(f"the data folder {data_dir} cannot be used: {error.strerror}") from error
        database = Database(
            data_dir / DATABASE_NAME, options.components, litestream_owns_checkpoints=hosted is not None
        )
        connection = None
        try:
            connection = database.open(may_make=may_make)
            return cls(options, data_dir, lock, database, connection, hosted)
        except BaseException:
            if connection is not None:
                connection.close()
            database.close()
            lock.release()
            raise

    async def start(self, ledger_head: LedgerHead | None = None) -> None:
        """Fold what is left, begin the epoch if it is a new one, make the first keys, know the keys.

        Every fold is registered and `writer.append_ledger` is set before. `ledger_head` tells the ledger's newest entry.
        """
        if self._left_behind is not None:
            await asyncio.to_thread(self.writer.fold_before, self._left_behind)
            self._left_behind = None
        if self._change is not None:
            epochs.begin(self._connection, self._change, self.writer.append_ledger, ledger_head)
            self._change = None
        self.writer.start()
        if self.hosted is None:
            await self._take_keys()
        self._flusher = asyncio.create_task(self._flush_last_used_forever())

    async def close(self) -> None:
        """Fold everything, close everything, let the folder go."""
        if self._flusher is not None:
            self._flusher.cancel()
            await asyncio.gather(self._flusher, return_exceptions=True)
            self._flusher = None
            try:
                await self.flush_last_used()
            except StockyardError as error:
                log.warning("when keys were last used could not be kept: %s", error.message)
        await self.writer.close()
        self.database.close()
        self._lock.release()

    async def reload_keys(self) -> None:
        """Know the keys that the database holds now; call it after each change of them."""
        self.keys.replace(await self.database.read(key_store.principals))

    async def flush_last_used(self) -> None:
        """Write down when keys were last used."""
        if self.keys.last_used_ns:
            taken = self.keys.take_last_used()
            await self.writer.write(lambda connection: key_store.set_last_used(connection, taken))

    async def change_settings(self, changes: Mapping[str, Any], events: Sequence[LedgerEvent] = ()) -> Settings:
        """Store settings by path (`None` resets one) and use them; validated as a whole, so all or nothing.

        Raises `SettingsError`, or `set_by_env` for one that the environment or a flag decides.
        """
        for path in changes:
            if self.sources.get(path) in ("env", "flag"):
                raise StockyardError(
                    "set_by_env", f"{path} is set by the environment or a flag, which win.", param=path
                )
        stored = await self.database.read(_stored_settings)
        stored.update(changes)
        settings, sources = self._load_settings({path: value for path, value in stored.items() if value is not None})
        now = self.clock.wall_ns()

        def store(connection: sqlite3.Connection) -> None:
            for path, value in changes.items():
                if value is None:
                    connection.execute("DELETE FROM settings WHERE path = ?", (path,))
                else:
                    row = (path, orjson.dumps(value).decode(), now)
                    connection.execute(
                        "INSERT OR REPLACE INTO settings (path, value, updated_at_ns) VALUES (?, ?, ?)", row
                    )

        await self.writer.write(store, events)
        self.settings, self.sources = settings, sources
        self.writer.limit_database(settings.max_database_bytes, by="settings")
        return settings

    def _load_settings(self, stored: Mapping[str, Any]) -> tuple[Settings, dict[str, str]]:
        options = self.options
        given = options.config_file or options.env.get("STOCKYARD_CONFIG")
        return Settings.load(
            self.data_dir,
            toml_path=Path(given) if given else None,
            env=options.env,
            flags=options.flags,
            api_values=stored,
        )

    def _open_secrets(self, connection: sqlite3.Connection) -> SecretBox:
        given = (
            self.hosted.secret_key.get_secret_value() if self.hosted else self.options.env.get("STOCKYARD_SECRET_KEY")
        )
        try:
            key = key_from_text(given) if given else load_or_make(self.data_dir / SECRET_KEY_NAME)
        except ValueError as error:
            raise DataFolderError(f"the secret key cannot be used: {error}") from error
        box = SecretBox(key)
        sealed = meta.get(connection, meta.SECRET_CHECK)
        if not sealed:
            meta.put(connection, meta.SECRET_CHECK, box.seal(b"stockyard").hex())
            return box
        try:
            box.open(bytes.fromhex(sealed))
        except SecretError:
            raise DataFolderError(
                "the secret key is not the one that this database's secrets are sealed under: give the right "
                "STOCKYARD_SECRET_KEY, or put the right secret.key beside the database"
            ) from None
        return box

    @staticmethod
    def _instance_principal(hosted: InstanceFile) -> Principal:
        key = hosted.instance_key.get_secret_value()
        return Principal(
            "instance",
            "instance",
            DEFAULT_SCOPES["instance"],
            name="control plane",
            prefix=display(key),
            digest=hash_key(key),
            origin="control_plane",
        )

    async def _take_keys(self) -> None:
        now = self.clock.wall_ns()
        given = env_admin(self.options.env)
        self.first_keys = await self.writer.write(lambda connection: make_first_keys(connection, given, now))
        await self.reload_keys()

    async def _flush_last_used_forever(self) -> None:
        while True:
            await self.clock.sleep(LAST_USED_FLUSH_S)
            try:
                await self.flush_last_used()
            except StockyardError as error:
                log.warning("when keys were last used could not be kept: %s", error.message)


def _left_behind(folder: Path, change: EpochChange | None, position: meta.Position) -> Journal | None:
    """The journal of the epoch that the database is about to leave: calls that were answered and are not folded yet.

    Only where both are known to belong together: a hosted database that is restored comes in a folder without a journal.
    """
    if change is None or not position.epoch or position.epoch != change.previous or not folder.is_dir():
        return None
    journal = Journal(folder, position.epoch)
    journal.open_to_fold(position.sequence)
    return journal


def _stored_settings(connection: sqlite3.Connection) -> dict[str, Any]:
    rows = connection.execute("SELECT path, value FROM settings ORDER BY path")
    return {path: orjson.loads(value) for path, value in rows}
