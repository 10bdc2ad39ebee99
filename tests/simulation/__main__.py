"""`python -m tests.simulation --seeds N [--from SEED]`: run histories, print what was seen; exit code 1 on a violation."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.history import History

SHOWN_AT_MOST = 20


def main() -> int:
    """Run the seeds one after the other; a violation's seed replays it."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many histories (default: 1000)")
    parser.add_argument("--from", dest="first", type=int, default=0, help="first seed (default: 0)")
    parser.add_argument("--length", type=float, default=15.0, help="virtual seconds of trouble in each (default: 15)")
    given = parser.parse_args()
    begun, effects, checks, lives, violations = time.perf_counter(), 0, 0, 0, []
    for seed in range(given.first, given.first + given.seeds):
        outcome = History(seed, given.length, bad_disks=seed % 8 == 0).run()
        effects, checks, lives = effects + outcome.effects, checks + outcome.checks, lives + outcome.lives
        if outcome.violation:
            violations.append(outcome)
            print(f"seed {seed}: {outcome.violation}", flush=True)
            if len(violations) >= SHOWN_AT_MOST:
                break
    took = time.perf_counter() - begun
    print(
        f"{given.seeds} seeds, {effects} steps, {lives} lives of the control plane, {checks} checks, "
        f"{len(violations)} violations, {took:.1f} s"
    )
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
