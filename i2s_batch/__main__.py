"""Running `python -m i2s_batch` is running the command line, `i2s-batch`."""

from __future__ import annotations

from i2s_batch.cli import main

if __name__ == "__main__":
    main()
