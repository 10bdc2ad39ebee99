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
PLACE = re.compile(r"(<!-- figures: begin -->\n).*?(<!-- figures: end -->)", re.DOTALL)


def figures(own: dict[str, Any], peers: dict[str, Any] | None) -> str:
    """The tables, with the machine and the commit they were measured on."""
    one, ours, chain = own["stockyard"]["one"], own["stockyard"], own["chain"]["all_on"]
    rows = [
        [f"added to a call, one connection, {ours['modules_on']} modules on", _ms(one["whole_added_us"], 2)],
        ["added to the first byte of a stream", _ms(one["stream_added_us"], 2)],
        ["added to a 400 KB prompt", _ms(one["prompt_400kb_added_us"], 1)],
        [f"the chain alone, all {chain['modules']} modules on", _ms(chain["p50_us"], 3)],
        ["calls a second, one core, 64 connections", f"{ours['many_whole']['requests_per_s']:,.0f}"],
        ["streams a second, one core, 64 connections", f"{ours['many_stream']['requests_per_s']:,.0f}"],
        ["memory when idle", f"{ours['idle_rss_mb']:.0f} MB"],
    ]
    text = markdown(["figure (medians)", "measured"], rows) + "\n" + machine_line(own["machine"])
    if peers is not None:
        text += "\nOthers on one machine in one run, each on one core, as they come:\n\n" + _others(peers)
        text += "\n" + machine_line(peers["machine"])
    return text


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
    text = figures(json.loads(OWN.read_text()), peers)
    README.write_text(PLACE.sub(lambda match: match[1] + text + match[2], README.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
