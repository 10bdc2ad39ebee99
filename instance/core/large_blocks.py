"""Large blocks of memory go back to the system as soon as they are free."""

from __future__ import annotations

import ctypes

M_MMAP_THRESHOLD = -3
"""glibc, malloc.h."""
LARGE_BYTES = 1 << 20


def return_large_blocks() -> bool:
    """Let the C library map each block of a megabyte or more by itself; whether it knows of that (glibc does, musl does so anyway).

    By itself glibc raises that size to that of the largest block that was freed, up to 32 MB: the tables of full caches, which
    Python makes anew now and then, would from then on lie among everything else and leave holes of their size behind.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(M_MMAP_THRESHOLD, LARGE_BYTES) == 1
