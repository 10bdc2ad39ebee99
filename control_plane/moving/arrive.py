"""Checks a database that came from elsewhere and fits it for an epoch here: `python -m control_plane.moving.arrive FILE NAME`.

The secret key and the new ids of its keys are read from standard input as JSON; so is the answer. A program of its own: what a customer uploaded is
opened by no process that holds anything of others.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Mapping
from pathlib import Path

from control_plane.backups.check import Checked, check
from instance.core import arrival
from instance.core.arrival import Unfit


def arrive(path: Path, name: str, secret_key: bytes, key_ids: Mapping[str, int]) -> Checked:
    """Walk every page and every ledger entry; what is sound is changed for its new place, and is then on disk."""
    try:
        checked = check(path)
        if checked.ok:
            with arrival.opened(path) as connection:
                arrival.require_key(connection, secret_key)
                connection.execute("BEGIN IMMEDIATE")
                arrival.become_hosted(connection, name, key_ids)
                connection.execute("COMMIT")
    except (sqlite3.Error, Unfit) as problem:
        return Checked(False, 0, "", path.stat().st_size, str(problem))
    return checked


if __name__ == "__main__":
    given = json.load(sys.stdin)
    told = arrive(Path(sys.argv[1]), sys.argv[2], bytes.fromhex(given["secret_key"]), given["key_ids"])
    print(json.dumps(told._asdict()))
