"""`make bench-peers`: other gateways that can be installed, measured as ours is, against the same mock upstream in one run.

Portkey's gateway comes by npm with the lock file in bench/portkey. Its streams answer 500 ("TypeError: immutable") with
@hono/node-server 1.14.3 and later, which hand out fetch's own headers where the gateway appends to them; 1.13.8, also
within the range that the gateway declares, is therefore pinned there. LiteLLM comes into a virtual environment of its
own from bench/litellm, pinned to 1.80.0 (later releases were compromised for a time; it is never a dependency).
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.__main__ import ROOT, machine, measure_floor, measure_stockyard
from bench.measure import many_connections, one_connection
from bench.servers import SERVER_CORE, free_port, process, rss_mb, upstream, wait_port

HERE = Path(__file__).parent
RESULTS = HERE / "results-peers.json"
LITELLM = "1.80.0"
KEY = "sk-bench-0123456789"


def install_portkey() -> None:
    if not (HERE / "portkey" / "node_modules" / "@portkey-ai").is_dir():
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=HERE / "portkey", check=True)


def install_litellm() -> Path:
    """The command; the marker is written last, so that an install which was broken off is done again."""
    venv = HERE / ".venvs" / "litellm"
    installed = venv / "installed"
    if not installed.exists():
        requirements = str(HERE / "litellm" / "requirements.txt")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
        uv = shutil.which("uv") or shutil.which("uv", path=Path(sys.executable).parent)
        if uv:
            install = [uv, "pip", "install", "--quiet", "--python", str(venv / "bin" / "python")]
        else:
            install = [str(venv / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "-r", requirements], check=True)
        installed.touch()
    return venv / "bin" / "litellm"


Peer = tuple[int, int, str, dict[str, str]]
"""Port, pid, model, headers."""


@contextlib.contextmanager
def portkey(upstream_port: int) -> Iterator[Peer]:
    install_portkey()
    port = free_port()
    script = HERE / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    env = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "localhost,127.0.0.1"}
    with process(["node", str(script), f"--port={port}", "--headless"], SERVER_CORE, env) as child:
        wait_port(port, child)
        headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"http://127.0.0.1:{upstream_port}/v1"}
        yield port, child.pid, "gpt-4o-mini", headers


@contextlib.contextmanager
def litellm(upstream_port: int) -> Iterator[Peer]:
    command = install_litellm()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="sybench") as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(
            "model_list:\n  - model_name: gpt-4o-mini\n    litellm_params:\n      model: openai/gpt-4o-mini\n"
            f"      api_base: http://127.0.0.1:{upstream_port}/v1\n      api_key: {KEY}\n"
        )
        env = {"LITELLM_LOG": "ERROR", "NO_DOCS": "True"}
        with process([str(command), "--config", str(config), "--port", str(port)], SERVER_CORE, env) as child:
            wait_port(port, child, 120)
            yield port, child.pid, "gpt-4o-mini", {}


def measure(peer: Callable[[int], contextlib.AbstractContextManager[Peer]], upstream_port: int) -> dict[str, Any]:
    with peer(upstream_port) as (port, pid, model, headers):
        time.sleep(2.0)
        result: dict[str, Any] = {"idle_rss_mb": rss_mb(pid)}
        result["one"] = one_connection(upstream_port, port, "gpt-4o-mini", model, KEY, headers)
        result["many_whole"] = many_connections(port, model, KEY, stream=False, seconds=5, headers=headers)
        return result


def main() -> None:
    result: dict[str, Any] = {"machine": machine(), "litellm": LITELLM}
    with upstream() as port:
        print("floor …", file=sys.stderr)
        result["floor"] = measure_floor(port)
        print("stockyard …", file=sys.stderr)
        result["Stockyard"] = measure_stockyard(port, 5.0)
        for name, peer in (("Portkey gateway", portkey), (f"LiteLLM {LITELLM}", litellm)):
            print(f"{name} …", file=sys.stderr)
            try:
                result[name] = measure(peer, port)
            except (RuntimeError, subprocess.CalledProcessError, OSError) as problem:
                result[name] = {"not_measured": str(problem)[:500]}
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    report(result)


def report(result: dict[str, Any]) -> None:
    """The table, a row for each gateway."""
    print(
        f"{'one connection / 64 connections, one core each':<34}{'added':>10}{'first byte':>12}{'400 KB':>10}{'requests/s':>12}{'idle':>9}"
    )
    for name, row in result.items():
        if not isinstance(row, dict) or name in ("machine", "floor"):
            continue
        if "not_measured" in row:
            print(f"{name:<34}not measured: {row['not_measured']}")
            continue
        one = row["one"]
        print(
            f"{name:<34}{one['whole_added_us'] / 1000:>7.2f} ms{one['stream_added_us'] / 1000:>9.2f} ms"
            f"{one['prompt_400kb_added_us'] / 1000:>7.1f} ms{row['many_whole']['requests_per_s']:>12.0f}{row['idle_rss_mb']:>6.0f} MB"
        )
    print(f"{result['machine']['cpu']}, commit {result['machine']['commit'][:12]}, in {ROOT.name}")


if __name__ == "__main__":
    main()
