"""How this process asks the system for memory."""

from __future__ import annotations

import ctypes
from contextlib import suppress

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_KEPT = 1 << 30  # bytes of freed memory that may stay with the process
_ASKED_AT_ONCE = 64 << 20
_LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc takes no more


def keep_freed_memory() -> None:
    """Let the allocator keep what is freed, instead of giving it back and asking for it anew.

    The feature maps of a step are freed and wanted again in the next one. As new pages they made drawing in a worker
    a third slower on a CPU (docs/guides/performance.md). Without glibc nothing is done.
    """
    with suppress(OSError, AttributeError):
        malloc_option = ctypes.CDLL(None).mallopt
        malloc_option(_M_TRIM_THRESHOLD, _KEPT)
        malloc_option(_M_TOP_PAD, _ASKED_AT_ONCE)
        malloc_option(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
