"""The command `stockyard`. `serve` imports nothing but the server; the other verbs live in `instance.commands`."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 failed or found broken, 2 used wrongly."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["serve"]:
        from instance.serve_command import serve_command

        return serve_command(given[1:])
    from instance.commands import run_command

    return run_command(given)


if __name__ == "__main__":
    sys.exit(main())
