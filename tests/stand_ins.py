"""Servers at addresses that no tenant may reach, in a network namespace of the test's own behind a veth.

The machine is given a route to exactly these addresses and loses it again, so nothing real is ever called at them.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

PORT = 80
OWN = "198.51.100.1"  # of the machine's end; the range is for documentation (RFC 5737)
DEADLINE_S = 20
SERVER = f"""
import socket, threading
def serve(address):
    with socket.create_server((address, {PORT})) as server:
        while True:
            server.accept()[0].close()
import sys
for address in sys.argv[1:]:
    threading.Thread(target=serve, args=(address,)).start()
"""


@contextmanager
def stand_ins(addresses: Sequence[str]) -> Iterator[int]:
    """Somebody listens at each of the addresses, and this machine reaches them; the port."""
    if os.geteuid() != 0:
        pytest.skip("only root makes network namespaces")
    tag = secrets.token_hex(3)
    space, near, far = f"sy-{tag}", f"sy{tag}h", f"sy{tag}n"
    server: subprocess.Popen[bytes] | None = None
    try:
        _ip("netns", "add", space)
        _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", space)
        _ip("address", "add", f"{OWN}/32", "dev", near)
        _ip("link", "set", near, "up")
        for device in ("lo", far):
            _ip("-n", space, "link", "set", device, "up")
        _ip("-n", space, "route", "add", "default", "dev", far)
        for address in addresses:
            _ip("-n", space, "address", "add", f"{address}/32", "dev", far)
            _ip("route", "add", f"{address}/32", "dev", near, "src", OWN)
        enter = ["nsenter", f"--net=/var/run/netns/{space}"]
        server = subprocess.Popen([*enter, sys.executable, "-c", SERVER, *addresses])
        for address in addresses:
            _await_reached(address)
        yield PORT
    finally:
        if server is not None:
            server.kill()
            server.wait(DEADLINE_S)
        for arguments in (("link", "delete", near), ("netns", "delete", space)):  # its routes go with the link
            subprocess.run(["ip", *arguments], capture_output=True, timeout=DEADLINE_S)


def unused(prefix: str) -> str:
    """An address below `10.` or `192.168.` to which this machine has no way of its own."""
    while True:
        rest = 4 - prefix.count(".")
        address = prefix + ".".join(str(1 + secrets.randbelow(250)) for _ in range(rest))
        ways = subprocess.run(["ip", "route", "show", "match", address], capture_output=True, text=True, check=True)
        if all(line.startswith("default") for line in ways.stdout.splitlines()):
            return address


def _await_reached(address: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while True:
        try:
            socket.create_connection((address, PORT), 1).close()
            return
        except OSError:
            assert time.monotonic() < end, f"this machine does not reach its own stand-in at {address}"
            time.sleep(0.05)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
