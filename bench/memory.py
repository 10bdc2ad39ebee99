"""Memory over many calls, each with a session, user, key and prompt of its own: `python -m bench.memory [--calls 1000000]`.

The calls go through the chain in this process, with a provider that answers at once: every module that keeps something by key,
session, user or text on top of those that are on by default (`--all`: every module, as in tests/bench/all-on.toml). `--records`
writes each call's record too, which the writer folds into a database of about 3 KB a call. It prints the series of RSS and of
what is in use, writes bench/results-memory.json, and with `--growth` names the lines whose memory grew in the second half.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import logging
import os
import sys
import tempfile
import time
import tomllib
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from bench.chain import ALL_ON, Chain, opened
from bench.chain_calls import Case
from instance.chute.exchange import Exchange
from instance.chute.order import ON_BY_DEFAULT
from instance.chute.record import streamed_answer, write_record
from instance.core.principals import Principal

RESULTS = Path(__file__).parent / "results-memory.json"
KEEP_STATE = frozenset(
    "abrouter agentguard approvalgate batchqueue cachelayer chatmem costcap devproxy driftwatch fallbackrouter imageproxy ipfence loadbalancer "
    "localsync mockllm multicall promptguard promptlint promptslim rateshield regionroute semanticcache stickysession tierdrop toolshield "
    "weightedrouter".split()
)
"""Modules that are off at first and remember something of calls."""
POINTS = 40
STREAMED_EVERY = 5
"""Each fifth call is a stream."""
WHOLE, STREAM = Case("memory", prompt_chars=200, in_session=True), Case("memory", 200, True, True)


class Distinct(Chain):
    """A chain whose calls have nothing in common: key, session, user, prompt and address are new with each."""

    records = False

    def exchange(self, case: Case, raw: bytes) -> Exchange:
        n = self.number
        own = self.principal
        self.principal = Principal(
            1_000_000 + n, "proxy", own.scopes, name=f"key {n}", prefix=f"sk-sy-{n}", team=f"team {n % 20_000}"
        )
        x = super().exchange(case, raw)
        x.session, x.user = f"session {n}", f"user {n}"
        x.client_ip = f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"
        x.request_id = "req_" + x.id[3:]
        return x

    def over(self, x: Exchange) -> None:
        super().over(x)
        if self.records:
            body = streamed_answer(x) if x.stream else self.answered
            write_record(self.chute.core.journal, x, body)
        self.chute.observe(x)


def rss_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class _Mallinfo(ctypes.Structure):
    """glibc's `mallinfo2`: `uordblks` and `hblkhd` are the bytes in use, on the heap and mapped by themselves."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
    ]


def in_use() -> tuple[int, float]:
    """Blocks of Python's own allocator, and MB that the C library has given out: what the program holds, while RSS counts too
    what its allocators keep between."""
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo is None:
        return sys.getallocatedblocks(), 0.0
    mallinfo.restype = _Mallinfo
    info = mallinfo()
    return sys.getallocatedblocks(), (info.uordblks + info.hblkhd) / 1e6


def config(*, every: bool) -> str:
    """The settings of all-on.toml, of every module or of those that keep something."""
    own = tomllib.loads(ALL_ON.read_text())["modules"]
    text = ALL_ON.read_text()
    if every:
        return text
    for name in own:
        if name not in KEEP_STATE and name not in ON_BY_DEFAULT:
            text = text.replace(f"[modules.{name}]\nenabled = true", f"[modules.{name}]\nenabled = false")
    # What promptguard learned keeps nothing of calls, and takes a fifth of the time.
    return text.replace("[modules.promptguard]\n", "[modules.promptguard]\nlearned = false\n")


async def measure(
    calls: int,
    save: Callable[[dict[str, Any]], None],
    *,
    every: bool = False,
    records: bool = False,
    growth: bool = False,
) -> None:
    """RSS in MB after shares of the calls, and how long they took: given to `save` after each share."""
    with tempfile.TemporaryDirectory(prefix="sybench") as folder:
        file = Path(folder) / "memory.toml"
        file.write_text(config(every=every))
        async with opened(file, Distinct) as (instance, chain):
            chain.records = records
            series: list[tuple[int, float]] = [(0, rss_bytes() / 1e6)]
            used = [in_use()]
            started = time.monotonic()
            before = None
            for point in range(1, POINTS + 1):
                for _ in range(calls // POINTS):
                    await chain.call(STREAM if chain.number % STREAMED_EVERY == 0 else WHOLE)
                    if not chain.number % 8:
                        await asyncio.sleep(0)
                if records:
                    await instance.core.writer.drain()
                await asyncio.sleep(0.05)
                gc.collect()
                series.append((chain.number, rss_bytes() / 1e6))
                used.append(in_use())
                print(
                    f"{series[-1][0]:>10} calls {series[-1][1]:>8.1f} MB {time.monotonic() - started:>8.0f} s "
                    f"{used[-1][0]:>9} blocks {used[-1][1]:>8.1f} MB in use",
                    flush=True,
                )
                modules = sum(slot.in_chain for slot in instance.chute.registry.slots.values())
                took = round(time.monotonic() - started)
                save(
                    {
                        "calls": chain.number,
                        "modules": modules,
                        "records": records,
                        "seconds": took,
                        "rss_mb": [[count, round(mb, 1)] for count, mb in series],
                        "python_blocks": [blocks for blocks, _ in used],
                        "native_mb": [round(mb, 1) for _, mb in used],
                    }
                )
                if growth and point == POINTS // 2:
                    gc.collect()
                    tracemalloc.start(8)
                    before = None
                if growth and point == POINTS * 5 // 8:
                    gc.collect()
                    before = tracemalloc.take_snapshot()
            if growth and before is not None:
                gc.collect()
                for line in tracemalloc.take_snapshot().compare_to(before, "lineno")[:25]:
                    print(line)


def main() -> None:
    from bench.__main__ import machine

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--all", action="store_true", help="every module, in place of those that keep something")
    parser.add_argument("--records", action="store_true", help="write each call's record")
    parser.add_argument("--growth", action="store_true", help="name the lines that allocate what grew")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    info = machine()

    def save(result: dict[str, Any]) -> None:
        if not given.growth:
            RESULTS.write_text(json.dumps({"machine": info, **result}, indent=2) + "\n")

    asyncio.run(measure(given.calls, save, every=given.all, records=given.records, growth=given.growth))


if __name__ == "__main__":
    main()
