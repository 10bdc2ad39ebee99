"""What a run came to: a table for a person, JSON for a program."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from statistics import median

from tests.chaos.disturbances import OK, Touches, touched_by, windows
from tests.chaos.world import World


@dataclass(frozen=True, slots=True)
class Kind:
    """All faults of one name. Recovery: from the end of the fault until its last tenant was answered."""

    fault: str
    times: int
    calls_failed: int
    lasted_median_s: float
    recovery_median_s: float | None
    recovery_max_s: float | None


@dataclass(frozen=True, slots=True)
class Report:
    runtime: str
    seed: int
    seconds: float
    tenants: int
    calls: int
    completed: int
    failed_hit: dict[str, int]
    failed_edge_away: dict[str, int]  # while nobody could be reached: the edge or everything was killed
    failed_not_hit: dict[str, int]
    lost_with_data: int  # completed calls that a deleted or restored database was allowed to lose
    kinds: list[Kind]
    violations: list[str]

    @classmethod
    def of(cls, world: World, *, seed: int, seconds: float) -> Report:
        """Counted from what the world remembers."""
        everybody = {each.fault for each in world.disturbances if each.touches is Touches.EVERYBODY}
        of = {slug: windows(slug, world.disturbances) for slug in world.callers}
        calls = world.calls()
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        blamed: Counter[str] = Counter()
        for call in calls:
            if call.code != OK:
                faults = touched_by(call, of)
                blamed.update(set(faults))
                where = "not hit" if not faults else "edge" if everybody.intersection(faults) else "hit"
                counts[where][call.code] += 1
        kept = sum(len(world.must_be_kept(slug)) for slug in world.callers)
        completed = sum(call.code == OK for call in calls)
        return cls(
            runtime=world.service.runtime,
            seed=seed,
            seconds=seconds,
            tenants=len(world.callers),
            calls=len(calls),
            completed=completed,
            failed_hit=dict(counts["hit"]),
            failed_edge_away=dict(counts["edge"]),
            failed_not_hit=dict(counts["not hit"]),
            lost_with_data=completed - kept,
            kinds=_kinds(world, blamed),
            violations=list(world.violations),
        )

    def as_json(self) -> dict[str, object]:
        return asdict(self)

    def table(self) -> str:
        head = f"{'fault':26}{'times':>6}{'lasted':>9}{'recovery, median':>18}{'max':>8}{'calls failed':>14}"
        lines = [head, "-" * len(head)]
        for kind in self.kinds:
            lines.append(
                f"{kind.fault:26}{kind.times:6}{kind.lasted_median_s:7.2f} s{_seconds(kind.recovery_median_s):>18}"
                f"{_seconds(kind.recovery_max_s):>8}{kind.calls_failed:14}"
            )
        lines += [
            "",
            f"{self.tenants} tenants ({self.runtime}), {self.seconds:.0f} s, seed {self.seed}",
            f"calls                      {self.calls}, completed {self.completed}",
            f"failed, tenant hit         {_codes(self.failed_hit)}",
            f"failed, edge away          {_codes(self.failed_edge_away)}",
            f"failed, tenant not hit     {_codes(self.failed_not_hit)}",
            f"may be lost with its data  {self.lost_with_data}",
        ]
        lines += [f"VIOLATION  {each}" for each in self.violations]
        lines.append(
            "everything held" if not self.violations else f"seed {self.seed}: {len(self.violations)} violations"
        )
        return "\n".join(lines)


def _kinds(world: World, blamed: Counter[str]) -> list[Kind]:
    found = []
    for fault in sorted({each.fault for each in world.disturbances}):
        these = [each for each in world.disturbances if each.fault == fault]
        recoveries = [max(each.healed.values()) - each.ended for each in these if each.healed]
        found.append(
            Kind(
                fault,
                len(these),
                blamed[fault],
                round(median(each.ended - each.begun for each in these), 3),
                round(median(recoveries), 3) if recoveries else None,
                round(max(recoveries), 3) if recoveries else None,
            )
        )
    return found


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _codes(counts: dict[str, int]) -> str:
    parts = ", ".join(f"{code} {count}" for code, count in sorted(counts.items()))
    return f"{sum(counts.values())}{f' ({parts})' if parts else ''}"
