"""`stockyard-cloud up`: the whole service on one machine, watched over by one process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from control_plane.config import Config


def run_up(config: Config, *, demo: bool, config_file: Path | None = None) -> int:
    """Run the service until SIGINT or SIGTERM, then end it with all its instances; the exit code.

    With `demo` the tenant of that name is made on the first start, and a call that works is printed.
    """
    from control_plane.supervisor.up import up  # not for the children, which start from this package too

    return up(config, demo=demo, config_file=config_file)
