"""Misfortunes of a whole service under steady calls: a table of what was seen; exit code 1 if anything did not hold.

With Docker it runs an engine of its own, in a network namespace of its own, since it kills that engine too. Needs root
for that, and the instances' image on the machine's engine (deploy/build-image.sh).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from tests.chaos.engine import Engine
from tests.chaos.run import run

ENGINE = "CHAOS_ENGINE"  # the folder of the engine to be started, once in the namespace


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long faults go on (default: 10)")
    parser.add_argument("--tenants", type=int, default=12, help="how many tenants (default: 12)")
    parser.add_argument(
        "--seed", type=int, default=None, help="of the schedule (default: a fresh one, which is printed)"
    )
    parser.add_argument("--runtime", choices=("process", "docker"), default="docker")
    parser.add_argument(
        "--keep", type=Path, default=None, help="a folder for the service's logs when something did not hold"
    )
    parser.add_argument("--json", action="store_true", help="end with one line of JSON in place of the table")
    given = parser.parse_args()
    if given.runtime == "docker" and ENGINE not in os.environ:
        folder = Engine.with_image()
        entered = ["unshare", "--net", sys.executable, "-m", "tests.chaos", *sys.argv[1:]]
        os.execvpe(entered[0], entered, {**os.environ, ENGINE: str(folder)})
    engine = None
    if ENGINE in os.environ:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        engine = Engine(os.environ.pop(ENGINE))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running
    seed = random.SystemRandom().randrange(1 << 30) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    report = run(
        minutes=given.minutes, tenants=given.tenants, seed=seed, runtime=given.runtime, engine=engine, keep=given.keep
    )
    print(json.dumps(report.as_json()) if given.json else f"\n{report.table()}", flush=True)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
