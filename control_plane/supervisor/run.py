"""`python -m control_plane.supervisor.run serve|activator`: what `stockyard-cloud` does under these names, started faster.

The supervisor decided every setting and handed it down by environment, so nothing is left of the command to be read.
"""

from __future__ import annotations

import sys

from control_plane.config import load_config
from control_plane.errors import ConfigError


def main(name: str) -> int:
    """Run that part of the service until it is asked to end; its exit code."""
    config = load_config()
    if name == "serve":
        from control_plane.app import serve

        return serve(config)
    from control_plane.routing.activator import run_activator

    return run_activator(config)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except ConfigError as problem:
        sys.exit(f"stockyard-cloud: {problem}")
