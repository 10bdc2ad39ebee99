"""Writes small MaxMind DB files (format 2.0, IPv4 tree with 24-bit records) for tests."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

MARKER = b"\xab\xcd\xefMaxMind.com"


def write_countries(path: Path, countries: Mapping[str, str]) -> None:
    """A file that knows the country (ISO code) of each network."""
    nodes: list[list[Any]] = [[None, None]]
    data = b""
    for network, code in countries.items():
        offset = len(data)
        data += _value({"country": {"iso_code": code}})
        parsed = ip_network(network)
        bits = f"{int(parsed.network_address):032b}"[: parsed.prefixlen]
        node = 0
        for bit in bits[:-1]:
            following = nodes[node][int(bit)]
            if following is None:
                nodes.append([None, None])
                following = nodes[node][int(bit)] = len(nodes) - 1
            node = following
        nodes[node][int(bits[-1])] = ("data", offset)
    count = len(nodes)

    def record(value: Any) -> bytes:
        number = count if value is None else count + 16 + value[1] if isinstance(value, tuple) else value
        return int(number).to_bytes(3)

    tree = b"".join(record(left) + record(right) for left, right in nodes)
    about = {
        "node_count": count,
        "record_size": 24,
        "ip_version": 4,
        "database_type": "Test-Country",
        "languages": [],
        "binary_format_major_version": 2,
        "binary_format_minor_version": 0,
        "build_epoch": 1,
        "description": {},
    }
    path.write_bytes(tree + bytes(16) + data + MARKER + _value(about))


def _value(value: Any) -> bytes:
    """A value in the format's own encoding: maps, strings and arrays."""
    if isinstance(value, dict):
        rows = (
            _value(key) + (_number(inner, key) if isinstance(inner, int) else _value(inner))
            for key, inner in value.items()
        )
        return bytes([7 << 5 | len(value)]) + b"".join(rows)
    if isinstance(value, list):
        return bytes([len(value), 11 - 7]) + b"".join(map(_value, value))
    text = str(value).encode()
    head = bytes([2 << 5 | len(text)]) if len(text) < 29 else bytes([2 << 5 | 29, len(text) - 29])
    return head + text


def _number(value: int, name: str) -> bytes:
    """An unsigned integer of the size that the format asks for."""
    data = value.to_bytes((value.bit_length() + 7) // 8)
    if name == "build_epoch":
        return bytes([len(data), 9 - 7]) + data
    return bytes([(6 if name == "node_count" else 5) << 5 | len(data)]) + data
