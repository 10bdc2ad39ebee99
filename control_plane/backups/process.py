"""How the machine's one Litestream is started: its configuration file, command and environment.

Facts of Litestream 0.5.17 that the files of this package rely on, each tried with the real binary:
- The control socket speaks HTTP: `POST /register {path, replica_url}`, `/unregister {path, timeout}`,
  `/sync {path, wait, timeout}`, `GET /list`, `/info`, `/txid?path=`. Registrations do not outlive the process.
- Registering a path again answers `already_registered` and keeps the old replica, whatever the new URL says; `/list`
  names paths only. So who registers must remember where to, see `registrations.py`.
- A database registered so ignores `monitor-interval` and `sync-interval` of the configuration: it is looked at once a
  second. `POST /sync` with `wait` is at once and durable, see `pace.py`.
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

SNAPSHOT_INTERVAL_H = 6


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
    longest_days = max(plan.backup_days for plan in config.plans.values())
    return {
        "socket": {"enabled": True, "path": str(config.litestream_socket), "permissions": 0o600},
        "snapshot": {"interval": f"{SNAPSHOT_INTERVAL_H}h", "retention": f"{longest_days * 24}h"},
        "logging": {"level": "warn", "stderr": True},
        "dbs": [],
    }


def metadata_folder(database: Path) -> Path:
    """Where Litestream keeps what it has not copied yet, and from which it goes on."""
    return database.with_name(f".{database.name}-litestream")


if __name__ == "__main__":  # as a container of its own: the program takes this process's place
    _config = load_config()
    _config.prepare()
    _command = litestream_command(_config)
    os.execve(_command[0], _command, litestream_environment())
