"""Memory of large tables that were replaced is given back, whatever lies behind them."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, os, sys
from pathlib import Path
from instance.core.large_blocks import return_large_blocks
if sys.argv[1] == "set":
    assert return_large_blocks()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
rss = lambda: int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
libc.free(libc.malloc(24 << 20))  # glibc takes it that such blocks come and go
before = rss()
for _ in range(4):
    table = libc.malloc(12 << 20)
    ctypes.memset(table, 1, 12 << 20)
    behind = [libc.malloc(100_000) for _ in range(8)]
    libc.free(table)
print(rss() - before)
"""


def kept_mb(how: str) -> int:
    ended = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True, timeout=60)
    return int(ended.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own way")
def test_what_was_freed_behind_other_blocks_is_given_back() -> None:
    assert kept_mb("not") >= 10
    assert kept_mb("set") <= 4
