"""Runs `i2s-batch render` for `ray job submit --working-dir . -- python jobs/render.py ...`: the same program."""

import sys

from i2s_batch.cli import main

if __name__ == "__main__":
    main(["render", *sys.argv[1:]])
