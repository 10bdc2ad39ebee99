"""What is measured of a server: the same for us and for others."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

from bench.load import Client, Request, chat_request
from bench.servers import CLIENT_CORE

PROMPT_400_KB = "The quick brown fox jumps over the lazy dog while the stockyard sleeps. " * 5690


def paired(
    direct: Request, proxied: Request, rounds: int, calls: int
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Latencies (first byte, end) of both, in turns of `calls`, so that both see the same machine."""
    clients = Client(direct), Client(proxied)
    seen: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    for client in clients:
        for _ in range(50):
            client.call()
    for turn in range(rounds):
        for which in (0, 1) if turn % 2 else (1, 0):
            seen[which].extend(clients[which].call() for _ in range(calls))
    for client in clients:
        client.close()
    return seen


def _median_us(values: list[int]) -> float:
    return statistics.median(values) / 1000


def one_connection(
    direct_port: int, proxied_port: int, direct_model: str, model: str, key: str, headers: dict[str, str] | None = None
) -> dict[str, float]:
    """Added medians in microseconds at one connection: whole answers, first byte of streams, a 400 KB prompt."""
    result: dict[str, float] = {}
    cases = {
        "whole": ({}, 20, 100),
        "stream": ({"stream": True}, 20, 50),
        "prompt_400kb": ({"prompt": PROMPT_400_KB}, 10, 10),
    }
    for name, (shape, rounds, calls) in cases.items():
        direct, proxied = paired(
            chat_request(direct_port, direct_model, **shape),  # type: ignore[arg-type]
            chat_request(proxied_port, model, key, headers=headers, **shape),  # type: ignore[arg-type]
            rounds,
            calls,
        )
        which = 0 if name == "stream" else 1
        direct_us = _median_us([pair[which] for pair in direct])
        proxied_us = _median_us([pair[which] for pair in proxied])
        result |= {f"{name}_direct_us": direct_us, f"{name}_us": proxied_us, f"{name}_added_us": proxied_us - direct_us}
    return result


def many_connections(
    port: int,
    model: str,
    key: str,
    *,
    stream: bool,
    seconds: float,
    headers: dict[str, str] | None = None,
    connections: int = 64,
) -> dict[str, float]:
    """Requests per second and latencies over many connections, by a load process on the clients' core."""
    command = [
        "taskset",
        "-c",
        str(CLIENT_CORE),
        sys.executable,
        "-m",
        "bench.load",
        "--port",
        str(port),
        "--model",
        model,
    ]
    command += ["--key", key, "--connections", str(connections), "--seconds", str(seconds)]
    for name, value in (headers or {}).items():
        command += ["--header", f"{name}={value}"]
    if stream:
        command.append("--stream")
    done = subprocess.run(command, capture_output=True, check=True, cwd=Path(__file__).parent.parent)
    result: dict[str, float] = json.loads(done.stdout)
    return result
