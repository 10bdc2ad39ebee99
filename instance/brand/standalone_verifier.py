"""Verifies an unpacked evidence pack: `python verify.py [FOLDER] [--key PUBLIC_KEY]`. Needs Python 3.9 or later and nothing else.

It checks that every file is the one that the manifest names, that the manifest and the ledger's head are signed
(Ed25519, RFC 8032), and that each ledger entry's hash covers the entry and the hash before it. `--key` demands that this
key signed; without it the key in the manifest is believed. It prints what it found and ends with 0 when all holds, else 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Point = tuple[int, int, int, int]

HASHED = ("seq", "created_at", "event_type", "actor", "resource", "action", "detail", "trace_id")
SHOWN = {*HASHED, "id", "prev_hash", "hash"}


class Broken(Exception):
    """What does not hold; the message names it."""


# --- Ed25519 (RFC 8032, 5.1.7): verification with Python's own integers ---------------------------------------------------
P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def _x_of(y: int, sign: int) -> int | None:
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P)
    if square % P == 0:
        return None if sign else 0
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * SQRT_M1 % P
    if (x * x - square) % P:
        return None
    return P - x if x & 1 != sign else x


def _point(data: bytes) -> Point | None:
    number = int.from_bytes(data, "little")
    y = number & ((1 << 255) - 1)
    x = _x_of(y, number >> 255)
    return None if x is None else (x, y, 1, x * y % P)


def _add(a: Point, b: Point) -> Point:
    p, q = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    r, s = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = q - p, s - r, s + r, q + p
    return e * f % P, g * h % P, f * g % P, e * h % P


def _times(scalar: int, point: Point) -> Point:
    result: Point = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point = _add(point, point)
        scalar >>= 1
    return result


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE_X = _x_of(BASE_Y, 0) or 0
BASE = (BASE_X, BASE_Y, 1, BASE_X * BASE_Y % P)


def signature_holds(key_hex: Any, signature_hex: Any, message: bytes) -> bool:
    """Whether the signature over the message was made with the private half of the key."""
    try:
        key, signature = bytes.fromhex(key_hex), bytes.fromhex(signature_hex)
    except (TypeError, ValueError):
        return False
    if len(key) != 32 or len(signature) != 64:
        return False
    public, r = _point(key), _point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if public is None or r is None or s >= Q:
        return False
    digest = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % Q
    left, right = _times(s, BASE), _add(r, _times(digest, public))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0


# --- the ledger -----------------------------------------------------------------------------------------------------------
def canonical(value: Any) -> bytes:
    """RFC 8785 JSON of values that hold no fractions and only ASCII keys, which is all that a ledger holds."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def check_ledger(path: Path, key: str) -> int:
    """Walk the exported ledger; how many entries it has. Raises `Broken`."""
    with path.open("rb") as file:
        header = json.loads(file.readline())
        if header.get("format") != "stockyard-ledger" or header.get("public_key") != key:
            raise Broken("ledger.ndjson does not begin with the header of an export by this key")
        unsigned = {name: value for name, value in header.items() if name != "signature"}
        if not signature_holds(key, header.get("signature"), b"stockyard-export-v1\n" + canonical(unsigned)):
            raise Broken("the ledger's header was changed after it was signed")
        head = header["head"]
        message = f"stockyard-ledger-v1\n{head['seq']}\n{head['hash']}".encode()
        if not signature_holds(key, head.get("signature"), message):
            raise Broken("the ledger's head was changed after it was signed")
        linked = not header["filters"]
        before, expected, count = header["prev_hash"], header["first_seq"], 0
        for line in file:
            try:
                entry = json.loads(line)
                seq = entry["seq"]
            except (ValueError, KeyError, TypeError):
                raise Broken(f"entry {expected}: the line is no entry") from None
            if linked and seq != expected:
                raise Broken(f"entry {expected}: it is missing; {seq} is in its place")
            if linked and entry.get("prev_hash") != before:
                raise Broken(f"entry {seq}: it does not follow the entry before it")
            own = {"v": 1, **{name: entry.get(name) for name in HASHED}}
            found = hashlib.sha256(bytes.fromhex(entry["prev_hash"]) + canonical(own)).hexdigest()
            if found != entry.get("hash") or set(entry) - SHOWN or entry.get("id") != seq:
                raise Broken(f"entry {seq}: it was changed; its hash is {found}, not {entry.get('hash')}")
            before, expected, count = found, seq + 1, count + 1
    if linked and header["last_seq"] and expected != header["last_seq"] + 1:
        raise Broken(f"entry {expected}: it is missing at the end")
    if linked and header["last_seq"] == head["seq"] and before != head["hash"]:
        raise Broken(f"entry {head['seq']}: its hash is not that of the signed head")
    return count


def check(folder: Path, key: str) -> Iterator[str]:
    """Verify a pack; lines that say what holds. Raises `Broken`."""
    raw = (folder / "manifest.json").read_bytes()
    manifest = json.loads(raw)
    named = manifest["public_key"]
    if key and key.lower() != named:
        raise Broken(f"the manifest names the key {named}, not the one that was given")
    signature = (folder / "manifest.sig").read_text().strip()
    if not signature_holds(named, signature, b"stockyard-evidence-v1\n" + raw):
        raise Broken("manifest.json was changed after it was signed")
    yield f"manifest: signed by {named}" + ("" if key else " (compare it with the key that you know)")
    for row in manifest["files"]:
        path = folder / row["file"]
        digest = hashlib.sha256()
        if not path.is_file():
            raise Broken(f"{row['file']}: it is missing")
        with path.open("rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
        if digest.hexdigest() != row["sha256"] and row["file"] != "ledger.ndjson":
            raise Broken(f"{row['file']}: it was changed")
        if row["file"] == "ledger.ndjson":
            count = check_ledger(path, named)
            if digest.hexdigest() != row["sha256"]:
                raise Broken("ledger.ndjson: it was changed")
            yield f"ledger.ndjson: {count} entries, the chain holds"
        else:
            yield f"{row['file']}: unchanged"


def main() -> int:
    parser = argparse.ArgumentParser(description="Verify an unpacked evidence pack.")
    parser.add_argument("folder", nargs="?", default=str(Path(__file__).resolve().parent))
    parser.add_argument("--key", default="", help="the public key that must have signed, hexadecimal")
    asked = parser.parse_args()
    try:
        for line in check(Path(asked.folder), asked.key):
            print(line)
    except (Broken, OSError, KeyError, ValueError) as problem:
        print(f"BROKEN: {problem}")
        return 1
    print("all of it holds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
