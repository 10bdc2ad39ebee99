"""The chain's work by count: byte codes that CPython runs in a call's hooks, which no neighbour on the machine changes.

`python -m bench.bytecodes` prints them by kind of call and by module. A count says what a change does to the work itself; what it
takes depends on the machine and on what its caches hold. Work in C (RE2, hashing, JSON) counts as the one instruction that calls it.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import instance
from bench.chain import ALL_ON, ALL_PLAIN, opened
from bench.chain_calls import CASES, Case
from bench.chain_times import Times

CALLS, WARM_UP = 20, 100
SETTINGS = {"defaults": None, "all plain": ALL_PLAIN, "all at work": ALL_ON}
OWN = str(Path(__file__).parent)
"""What the benchmark itself does is not counted."""
PRODUCT = str(Path(instance.__file__).parent)


class Bytecodes:
    """`count` grows by one with each byte code that this thread runs; `calls` with each of the product's functions that is entered
    or, a coroutine, gone on with. It counts within `with`."""

    def __init__(self) -> None:
        self.count = self.calls = 0

    def read(self) -> int:
        """In place of a clock's nanoseconds."""
        return self.count

    def __enter__(self) -> None:
        sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode":
            self.count += 1
        elif event == "call":
            file = frame.f_code.co_filename
            if file.startswith(OWN):
                return None
            self.calls += file.startswith(PRODUCT)
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._trace


async def measure(config: Path | None, cases: tuple[Case, ...] = CASES, calls: int = CALLS) -> dict[str, Any]:
    """Byte codes and Python calls of one call of each kind, and byte codes by module: medians.

    `{"cases": {name: {"bytecodes", "python_calls"}}, "by_module": {module: {name: bytecodes}}}`."""
    result: dict[str, Any] = {"cases": {}, "by_module": {}}
    async with opened(config) as (opened_instance, chain):
        for case in cases:
            await chain.calls(case, WARM_UP)
        counter = Bytecodes()
        chain.clock.read = counter.read
        chain.clock.away_ns = 0
        for case in cases:
            counts, entered = [], []
            for _ in range(calls):
                with counter:
                    before = counter.calls
                    took, _, _ = await chain.call(case)
                    entered.append(counter.calls - before)
                counts.append(took)
                await chain.embedder.settled()
            result["cases"][case.name] = {
                "bytecodes": statistics.median(counts),
                "python_calls": statistics.median(entered),
            }
        times = Times(opened_instance.chute.registry, chain.clock)
        chain.renew()
        times.watch_deltas(chain.plan)
        for case in cases:
            times.begin()
            for _ in range(calls):
                with counter:
                    await chain.call(case)
                times.next_call()
                await chain.embedder.settled()
            for name, thousands in times.medians_us().items():
                result["by_module"].setdefault(name, {})[case.name] = thousands * 1000
    return result


def print_table(results: dict[str, dict[str, Any]]) -> None:
    """What a person reads: cases first, then the modules, those with most to do first."""
    print(f"{'byte codes (Python calls)':<28}" + "".join(f"{name:>20}" for name in results))
    for case in CASES:
        rows = [each["cases"][case.name] for each in results.values()]
        print(
            f"{case.name:<28}" + "".join(f"{row['bytecodes']:>12,.0f} ({row['python_calls']:>5,.0f})" for row in rows)
        )
    every = results["all at work"]["by_module"]
    print(f"\n{'module, byte codes':<28}" + "".join(f"{case.name[:13]:>14}" for case in CASES))
    for name, row in sorted(every.items(), key=lambda item: -item[1].get(CASES[0].name, 0.0)):
        print(f"{name:<28}" + "".join(f"{row.get(case.name, 0.0):>14,.0f}" for case in CASES))


async def all_settings() -> dict[str, dict[str, Any]]:
    return {name: await measure(config) for name, config in SETTINGS.items()}


if __name__ == "__main__":
    print_table(asyncio.run(all_settings()))
