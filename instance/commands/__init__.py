"""The verbs of `stockyard` beside `serve`: they ask the instance's API, over the network or in this process."""

from __future__ import annotations

from collections.abc import Sequence


def run_command(arguments: Sequence[str]) -> int:
    """Run one of the verbs; the exit code."""
    from instance.commands.terminal import Failed, complain
    from instance.commands.verbs import application

    try:
        application(list(arguments), prog_name="stockyard")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except Failed as failure:
        complain(failure)
        return failure.exit_code
    return 0
