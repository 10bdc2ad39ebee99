"""Put the measured figures into the README: `python -m docs.figures`, after `make bench` and `make bench-peers`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from docs.schema_table import markdown

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
OWN = ROOT / "bench" / "results.json"
PEERS = ROOT / "bench" / "results-peers.json"
CHAIN = ROOT / "bench" / "results-chain.json"
DEAR_US = 15
"""A module is named from this on."""
SCAN = "shared scan"
"""The row of the scan for all modules' patterns: `bench/chain_times.py`."""
PLACE = re.compile(r"(<!-- figures: begin -->\n).*?(<!-- figures: end -->)", re.DOTALL)


def figures(own: dict[str, Any], peers: dict[str, Any] | None, chain: dict[str, Any] | None = None) -> str:
    """The tables, with the machine and the commit they were measured on."""
    one, ours = own["stockyard"]["one"], own["stockyard"]
    rows = [
        [f"added to a call, one connection, {ours['modules_on']} modules on", _ms(one["whole_added_us"], 2)],
        ["added to the first byte of a stream", _ms(one["stream_added_us"], 2)],
        ["added to a 400 KB prompt", _ms(one["prompt_400kb_added_us"], 1)],
        ["calls a second, one core, 64 connections", f"{ours['many_whole']['requests_per_s']:,.0f}"],
        ["streams a second, one core, 64 connections", f"{ours['many_stream']['requests_per_s']:,.0f}"],
        ["memory when idle", f"{ours['idle_rss_mb']:.0f} MB"],
    ]
    text = markdown(["figure (medians)", "measured"], rows) + "\n" + machine_line(own["machine"])
    if chain is not None:
        text += "\n" + _chain(chain)
    if peers is not None:
        text += "\nOthers on one machine in one run, each on one core, as they come:\n\n" + _others(peers)
        text += "\n" + machine_line(peers["machine"])
    return text


def _chain(chain: dict[str, Any]) -> str:
    """The chain by kind of call, with the modules' defaults and with all on, and the modules that take most."""
    defaults, plain, every = chain["defaults"], chain["all_plain"], chain["all_on"]
    head = [
        "the chain alone, by `python -m bench.chain` (median)",
        f"{defaults['modules']} modules on, as at first",
        f"all {plain['modules']} on, as at first",
        f"all {every['modules']} on and at work",
        "of embeddings, beside the loop",
    ]
    rows = [
        [
            name,
            *(_ms(each["cases"][name]["p50_us"], 3) for each in (defaults, plain, every)),
            _ms(row["beside_p50_us"], 3),
        ]
        for name, row in every["cases"].items()
    ]
    dear = sorted(
        (
            (row["whole"], name)
            for name, row in every["by_module"].items()
            if row.get("whole", 0) > DEAR_US and name != SCAN
        ),
        reverse=True,
    )
    named = ", ".join(f"{name} {us:.0f}" for us, name in dear)
    return (
        "The modules' own time on the event loop; the provider and the wait for embeddings, handing over to their thread among it, are left out; what modules do with embeddings on that thread is in the last column, for the one before it. Every text is new. A request has about 400 bytes and "
        "an answer about 600, but where it says otherwise; a stream has about 120 events.\n\n"
        + markdown(head, rows)
        + f"\nWith all on and at work, the scan for patterns that modules share takes {every['by_module'][SCAN]['whole']:.0f} us of such a whole call, and "
        f"{len(dear)} modules take more than {DEAR_US} us by themselves: {named}. It hands {every['cases']['whole']['handed']:.1f} jobs to the embedder's "
        f"thread, which takes {every['cases']['whole']['handed_us']:.0f} us.\n\n" + machine_line(chain["machine"])
    )


def _others(peers: dict[str, Any]) -> str:
    head = [
        "one connection / 64 connections",
        "added",
        "to a stream's first byte",
        "to 400 KB",
        "calls/s",
        "idle memory",
    ]
    rows = []
    for name, row in peers.items():
        if isinstance(row, dict) and "one" in row:
            one = row["one"]
            rows.append(
                [
                    name,
                    _ms(one["whole_added_us"], 2),
                    _ms(one["stream_added_us"], 2),
                    _ms(one["prompt_400kb_added_us"], 1),
                    f"{row['many_whole']['requests_per_s']:,.0f}",
                    f"{row['idle_rss_mb']:.0f} MB",
                ]
            )
    return markdown(head, rows)


def _ms(us: float, digits: int) -> str:
    return f"{us / 1000:.{digits}f} ms"


def machine_line(info: dict[str, Any]) -> str:
    """What a measurement was made on, and when."""
    return f"{info['cpu']}, {info['cores']} cores, Python {info['python']}, {info['at'][:10]}, commit `{info['commit'][:12]}`.\n"


def main() -> int:
    if not OWN.exists():
        print("bench/results.json is not there: run `make bench` first", file=sys.stderr)
        return 1
    peers = json.loads(PEERS.read_text()) if PEERS.exists() else None
    chain = json.loads(CHAIN.read_text()) if CHAIN.exists() else None
    text = figures(json.loads(OWN.read_text()), peers, chain)
    README.write_text(PLACE.sub(lambda match: match[1] + text + match[2], README.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
