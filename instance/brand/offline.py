"""`stockyard verify FILE`: checks an exported ledger without the instance that made it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from instance.brand.chain import ALGORITHM, FORMAT, VERSION, ZERO_HASH, Verdict, Walk, header_message, signed_message
from instance.brand.signing import signature_holds

LINE_MAX_BYTES = 1 << 20
HASH_HEX_LENGTH = 64


class NotAnExport(Exception):
    """The file is not an export of a ledger; the message says why."""


def verify_file(path: Path, public_key: str | None = None) -> Verdict:
    """Walk an NDJSON export and say whether it holds, naming the first entry that does not.

    `public_key` (hexadecimal) demands that this key signed it; otherwise the key in the file is believed, which proves
    only that the file was not changed afterwards by someone without that key. Raises `NotAnExport`, `OSError`.
    """
    with path.open("rb") as file:
        header = _header(file)
        walk = Walk(
            first_seq=header["first_seq"] or None,
            prev_hash=bytes.fromhex(header["prev_hash"]) if header["first_seq"] > 1 else ZERO_HASH,
            linked=not header["filters"],
        )
        if _signatures_hold(walk, header, public_key):
            _walk(walk, file, header)
    head = header["head"]
    whole = header["last_seq"] == head["seq"] and not header["filters"]
    return walk.end(header["last_seq"] if not header["filters"] else None, head["hash"] if whole else None)


def _header(file: BinaryIO) -> dict[str, Any]:
    try:
        header = orjson.loads(file.readline(LINE_MAX_BYTES))
    except orjson.JSONDecodeError:
        raise NotAnExport("the first line is not JSON; it must be the header of an export") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise NotAnExport(f"the first line does not say format {FORMAT!r}; export with GET /api/trust/export")
    if header.get("v") != VERSION or header.get("algorithm") != ALGORITHM:
        raise NotAnExport(f"it was written by another algorithm: v {header.get('v')}, {header.get('algorithm')!r}")
    head = header.get("head")
    well_formed = (
        all(type(header.get(name)) is int for name in ("first_seq", "last_seq"))
        and _is_hash(header.get("prev_hash"))
        and isinstance(header.get("filters"), dict)
        and isinstance(head, dict)
        and type(head.get("seq")) is int
        and _is_hash(head.get("hash"))
    )
    if not well_formed:
        raise NotAnExport("the header lacks first_seq, last_seq, prev_hash, filters or head")
    return header


def _is_hash(value: object) -> bool:
    if not isinstance(value, str) or len(value) != HASH_HEX_LENGTH:
        return False
    try:
        bytes.fromhex(value)
    except ValueError:
        return False
    return True


def _signatures_hold(walk: Walk, header: Mapping[str, Any], public_key: str | None) -> bool:
    head = header["head"]
    named = str(header.get("public_key"))
    if public_key is not None and named != public_key.lower():
        return walk.signature_broken(header["first_seq"], f"public key {public_key.lower()}", f"public key {named}")
    if not signature_holds(named, str(header.get("signature")), header_message(header)):
        return walk.signature_broken(header["first_seq"], "a header as it was signed", "a header that was changed")
    if not signature_holds(named, str(head.get("signature")), signed_message(head["seq"], head["hash"])):
        return walk.signature_broken(head["seq"], "a head as it was signed", "a head that was changed")
    return True


def _walk(walk: Walk, file: BinaryIO, header: Mapping[str, Any]) -> None:
    expected = header["first_seq"]
    number = 1
    while line := file.readline(LINE_MAX_BYTES):
        number += 1
        try:
            entry = orjson.loads(line)
        except orjson.JSONDecodeError:
            entry = None
        if not isinstance(entry, dict) or not line.endswith(b"\n"):
            walk.unreadable(expected, f"line {number} is not one whole JSON object")
            return
        if not walk.check(entry):
            return
        expected = entry["seq"] + 1
