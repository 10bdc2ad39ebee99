"""How Caddy is started as the edge: its binary, its static configuration and the few words of environment it reads."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from control_plane.config import Config, load_config
from control_plane.errors import ConfigError

_HERE = Path(__file__).resolve()
# In an installation; in the source tree.
_CADDYFILES = (_HERE.with_name("Caddyfile"), _HERE.parents[2] / "deploy" / "Caddyfile")


def caddy_command() -> list[str]:
    """The command that runs the edge in the foreground."""
    return [packaged_binary("caddy"), "run", "--adapter", "caddyfile", "--config", str(_caddyfile())]


def caddy_environment(config: Config) -> Mapping[str, str]:
    """All of Caddy's environment; the Caddyfile says what each is for."""
    host, _, port = config.edge_listen.rpartition(":")
    return {
        "STOCKYARD_CLOUD_DATA": str(config.data),
        "STOCKYARD_EDGE_SITE": f"http://:{port}",
        "STOCKYARD_EDGE_BIND": host.strip("[]"),
        "STOCKYARD_CLOUD_DOMAIN": config.domain,
        "HOME": str(config.run_dir),
        "PATH": os.defpath,
        "GOGC": "50",  # half the memory for little more work: the edge holds few objects for long
    }


def packaged_binary(name: str) -> str:
    """Path of a program that came with a Python package; beside this Python first, then anywhere on PATH."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise ConfigError(f"the program `{name}` is missing; install it with: pip install 'stockyard[cloud]'")
    return found


def _caddyfile() -> Path:
    for path in _CADDYFILES:
        if path.is_file():
            return path
    raise ConfigError("the Caddyfile is missing from this installation of stockyard; install it again")


if __name__ == "__main__":  # as a container of its own: the program takes this process's place
    _config = load_config()
    _config.prepare()
    _command = caddy_command()
    os.execve(_command[0], _command, dict(caddy_environment(_config)))
