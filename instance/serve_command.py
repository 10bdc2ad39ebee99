"""`stockyard serve`: its flags, read by argparse, as anything heavier would be most of the start."""

from __future__ import annotations

import argparse
import gc
import os
from collections.abc import Sequence
from pathlib import Path

EXAMPLE = """examples:
  stockyard serve
  stockyard serve --port 4300 --data ./data
  stockyard serve --uds /run/stockyard/own.sock
"""


def parser() -> argparse.ArgumentParser:
    """The flags of `serve`."""
    parsed = argparse.ArgumentParser(
        prog="stockyard serve",
        description="Serve one instance: the proxy, its apps and their API, until SIGTERM or Ctrl-C.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parsed.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parsed.add_argument("--port", type=int, help="port to listen on (default 4200); 0 takes a free one")
    parsed.add_argument("--uds", metavar="PATH", help="listen on this Unix socket instead of a port")
    parsed.add_argument("--data", type=Path, metavar="DIR", help="data folder (default STOCKYARD_DATA, ~/.stockyard)")
    parsed.add_argument("--config", type=Path, metavar="FILE", help="settings file (default stockyard.toml in DIR)")
    parsed.add_argument("--open", action="store_true", help="check no keys; on loopback only")
    return parsed


def serve_command(arguments: Sequence[str]) -> int:
    """Serve; the exit code."""
    flags = parser().parse_args(arguments)
    gc.disable()  # nothing of the start is garbage; `serve` enables it
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # else it reads the metadata of every package
    from instance.server import ServeOptions, run

    return run(
        ServeOptions(
            data=flags.data, config=flags.config, host=flags.host, port=flags.port, uds=flags.uds, open=flags.open
        )
    )
