"""How the machine's one Litestream is started: its configuration file, command and environment.

Facts of Litestream 0.5.17 that the files of this package rely on, each tried with the real binary:
- The control socket speaks HTTP: `POST /register {path, replica_url}`, `/unregister {path, timeout}`,
  `/sync {path, wait, timeout}`, `GET /list`, `/info`, `/txid?path=`. Registrations do not outlive the process.
- Registering a path again answers `already_registered` and keeps the old replica, whatever the new URL says; `/list`
  names paths only. So who registers must remember where to, see `registrations.py`.
- A database registered so ignores `monitor-interval` and `sync-interval` of the configuration: it is looked at once a
  second. `POST /sync` with `wait` is at once and durable, see `pace.py`.
- A registration takes a path and an address, nothing else: `snapshot: {interval, retention}` are those of the process, and
  hold for registered databases only. What a plan keeps is kept to by `keeper.py`.
- A restore to a time T brings the newest state of before T that the replica has: up to 0.25 s before for the last five
  minutes, up to 30 s before for what is older (level 1, kept as long as snapshots are); never one of after T. In an
  epoch's first 30 s, once they are older than five minutes, there is none ("timestamp does not exist").
- For SFTP an address holds name and password only (`sftp://USER:PASSWORD@HOST:PORT/PATH`): options such as `key-path` are
  not read from it, and the server's key is not checked.
- `/unregister` syncs first and gives up after `timeout`; it then answers 500 and has removed the database all the same.
- The metadata folder `.NAME-litestream` beside a database belongs to its replica. Removed, Litestream goes on at the
  replica's highest transaction id with a snapshot; kept for another replica, it continues the old one's ids.
- `restore -timestamp` fails with "timestamp does not exist" for a time after the last change as for one before the
  first.
- `AWS_CA_BUNDLE` makes the S3 client fail ("unable to add custom RootCAs").
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from control_plane.config import Config, load_config
from control_plane.routing.caddy import packaged_binary

SNAPSHOT_MIN_S, SNAPSHOT_MAX_S = 600, 6 * 3_600
SPARE_S = 12 * 3_600
"""Litestream's own retention is one for all: longer than the longest plan's by this, and never the first to remove."""


def litestream_binary() -> str:
    """Path of the packaged Litestream."""
    return packaged_binary("litestream")


def litestream_command(config: Config) -> list[str]:
    """Write the configuration and return the command that runs with it in the foreground."""
    path = config.run_dir / "litestream.yml"
    path.write_text(json.dumps(_configuration(config), indent=1), encoding="utf-8")  # JSON is YAML
    return [litestream_binary(), "replicate", "-config", str(path)]


def litestream_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The store's credentials and little else; nothing of the control plane's own."""
    return {
        name: value for name, value in environ.items() if name != "AWS_CA_BUNDLE" and not name.startswith("STOCKYARD_")
    }


def _configuration(config: Config) -> dict[str, object]:
    retention_s = max(plan.backup_days for plan in config.plans.values()) * 86_400 + SPARE_S
    return {
        "socket": {"enabled": True, "path": str(config.litestream_socket), "permissions": 0o600},
        "snapshot": {"interval": f"{snapshot_interval_s(config)}s", "retention": f"{retention_s}s"},
        "logging": {"level": "warn", "stderr": True},
        "dbs": [],
    }


def snapshot_interval_s(config: Config) -> int:
    """Between two snapshots: no longer than a tenant is awake after a call.

    Litestream takes them at whole intervals of the clock, of the databases that it carries then. Without this, one that is
    used for an hour a day would never have a second, and what is older than its plan keeps could never go.
    """
    shortest = min(plan.idle_sleep_s for plan in config.plans.values())
    return max(SNAPSHOT_MIN_S, min(shortest, SNAPSHOT_MAX_S))


def metadata_folder(database: Path) -> Path:
    """Where Litestream keeps what it has not copied yet, and from which it goes on."""
    return database.with_name(f".{database.name}-litestream")


if __name__ == "__main__":  # as a container of its own: the program takes this process's place
    _config = load_config()
    _config.prepare()
    _command = litestream_command(_config)
    os.execve(_command[0], _command, litestream_environment())
