"""An image file in memory, of which a decoder may read a bounded number of pieces and a bounded header.

Where Pillow reads a file in Python, its time goes with the pieces that it asks for (a comment of a PPM is read byte
by byte), or with the square of what a header gathers up (a GIF's comment, a JPEG's EXIF). Both are counted here.
"""

from __future__ import annotations

import io

from i2s_batch.images.read.faults import BeyondLimitError

# A PNG of 512 MB in chunks of 8 KB, the smallest usual, comes in 200,000 pieces; this many take a few seconds.
MAX_PIECES = 300_000
# Bytes that may be read until the size of the image is known, by the first bytes of the file. ICC profiles of
# printers have 4 MB.
MAX_HEADER_BYTES = {b"\xff\xd8": 16 * 2**20, b"GIF8": 2 * 2**20}


class BoundedFile(io.BytesIO):
    """Holds `data` for a decoder; `header_read` ends the header. Reading raises BeyondLimitError."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._pieces = 0
        self._header = next((limit for magic, limit in MAX_HEADER_BYTES.items() if data.startswith(magic)), None)

    def header_read(self) -> None:
        """End the header: what is read from now on are pixels."""
        self._header = None

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as from any file, and count the piece."""
        self._pieces += 1
        if self._pieces > MAX_PIECES:
            raise BeyondLimitError(f"it is in more than {MAX_PIECES} pieces; save it again")
        if self._header is not None and self.tell() > self._header:
            raise BeyondLimitError(f"its header has more than {self._header} bytes; save it again")
        return super().read(size)
