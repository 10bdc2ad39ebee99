"""The country of an address, from a MaxMind DB file that the operator supplies."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

from instance.core.errors import StockyardError

REMEMBERED_MAX = 4096


class CountryDatabase:
    """An open MMDB file (GeoLite2-Country, DB-IP and others of that layout). Raises `invalid_value` when it cannot be used,
    with the name of the setting that has the path."""

    def __init__(self, path: str, setting: str) -> None:
        param = f"config.{setting}"
        try:
            import maxminddb
        except ImportError:
            raise StockyardError(
                "invalid_value",
                f"{setting} needs the package maxminddb: pip install 'stockyard[geoip]'.",
                param=param,
            ) from None
        if not Path(path).is_file():
            raise StockyardError("invalid_value", f"There is no file {path!r}.", param=param)
        try:
            self._reader: Any = maxminddb.open_database(path)
        except (maxminddb.InvalidDatabaseError, OSError, ValueError) as error:
            raise StockyardError("invalid_value", f"{path!r} is no MaxMind DB file: {error}.", param=param) from None
        self._known: OrderedDict[str, str] = OrderedDict()

    def country(self, address: str) -> str:
        """ISO 3166-1 code in upper case; empty when the file does not know the address."""
        known = self._known.get(address)
        if known is not None:
            return known
        try:
            row = self._reader.get(address)
        except ValueError:
            row = None
        found = ""
        if isinstance(row, dict):
            country = row.get("country") or row.get("registered_country") or {}
            code = country.get("iso_code") if isinstance(country, dict) else country
            found = code.upper() if isinstance(code, str) else ""
        self._known[address] = found
        if len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)
        return found

    def close(self) -> None:
        """Let the file go."""
        self._reader.close()
