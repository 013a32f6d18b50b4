"""Runs `i2s-batch embed` for `ray job submit --working-dir . -- python jobs/embed.py ...`: the same program."""

import sys

from i2s_batch.cli import main

if __name__ == "__main__":
    main(["embed", *sys.argv[1:]])
