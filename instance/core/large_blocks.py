"""Large blocks of memory go back to the system as soon as they are free."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc, malloc.h."""
LARGE_BYTES = 4 << 20
KEPT_BYTES = 16 << 20
"""What the heap keeps at its end for blocks that come and go, as a call's body does."""


def return_large_blocks() -> bool:
    """Let the C library map each block of four megabytes or more by itself; whether it knows of that (glibc does, musl does so anyway).

    By itself glibc raises that size to that of the largest block that was freed, up to 32 MB: the tables of full caches, which
    Python makes anew now and then, would from then on lie among everything else and leave holes of their size behind.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or mallopt(M_MMAP_THRESHOLD, LARGE_BYTES) != 1:
        return False
    # Once the one is set, the other no longer follows it: the heap would be cut and grown again with every call of 128 KB.
    return bool(mallopt(M_TRIM_THRESHOLD, KEPT_BYTES) == 1)
