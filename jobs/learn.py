"""Runs `i2s-batch learn` for `ray job submit --working-dir . -- python jobs/learn.py ...`: the same program."""

import sys

from i2s_batch.cli import main

if __name__ == "__main__":
    main(["learn", *sys.argv[1:]])
