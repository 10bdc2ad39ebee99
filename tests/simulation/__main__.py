"""`python -m tests.simulation --seeds N [--from SEED]`: run histories, print what was seen; exit code 1 on a violation."""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import partial
from multiprocessing import Pool

from tests.simulation.history import History, Outcome

SHOWN_AT_MOST = 20
AT_A_TIME = 20


def run(steps: int, seed: int) -> Outcome:
    """One history."""
    return History(seed, steps).run()


def main() -> int:
    """Run the seeds on every core; a violation's seed replays it."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many histories (default: 1000)")
    parser.add_argument("--from", dest="first", type=int, default=0, help="first seed (default: 0)")
    parser.add_argument(
        "--steps", type=int, default=500, help="steps of trouble in each before it settles (default: 500)"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    given = parser.parse_args()
    seeds = range(given.first, given.first + given.seeds)
    begun, steps, checks, lives, histories, violations = time.perf_counter(), 0, 0, 0, 0, 0
    with Pool(given.jobs) as pool:
        for outcome in pool.imap(partial(run, given.steps), seeds, chunksize=AT_A_TIME):
            histories += 1
            steps, checks, lives = steps + outcome.effects, checks + outcome.checks, lives + outcome.lives
            if outcome.violation:
                violations += 1
                print(f"seed {outcome.seed}: {outcome.violation}", flush=True)
                if violations >= SHOWN_AT_MOST:
                    break
    took = time.perf_counter() - begun
    print(
        f"seeds {given.first} to {given.first + histories - 1}: {histories} histories, {steps} steps, "
        f"{lives} lives of the control plane, {checks} checks, {violations} violations, {took:.1f} s"
    )
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
