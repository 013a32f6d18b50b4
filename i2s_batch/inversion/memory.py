"""Sets how this process requests memory from the system."""

from __future__ import annotations

import ctypes
from contextlib import suppress

# Option numbers of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_KEPT = 1 << 30  # bytes of freed memory that may stay with the process
_REQUEST_BYTES = 64 << 20  # least that is requested from the system at once
_LARGEST_MMAP_THRESHOLD = 32 << 20  # the largest that glibc accepts


def keep_freed_memory() -> None:
    """Let the allocator keep what is freed, instead of returning it to the system and requesting it again.

    The feature maps of a step are freed and wanted again in the next one. As new pages they made drawing in a worker
    a third slower on a CPU (docs/guides/performance.md). Without glibc nothing is done.
    """
    with suppress(OSError, AttributeError, TypeError):  # TypeError: on Windows
        malloc_option = ctypes.CDLL(None).mallopt
        malloc_option(_M_TRIM_THRESHOLD, _KEPT)
        malloc_option(_M_TOP_PAD, _REQUEST_BYTES)
        malloc_option(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
