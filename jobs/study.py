"""Runs `i2s-batch study` for `ray job submit --working-dir . -- python jobs/study.py ...`: the same program."""

import sys

from i2s_batch.cli import main

if __name__ == "__main__":
    main(["study", *sys.argv[1:]])
