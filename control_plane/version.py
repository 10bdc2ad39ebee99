"""The version of the installed distribution."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("stockyard")
except PackageNotFoundError:  # run from a tree that was never installed
    VERSION = "0+tree"
