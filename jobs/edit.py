"""Runs `i2s-batch edit` for `ray job submit --working-dir . -- python jobs/edit.py ...`: the same program."""

import sys

from i2s_batch.cli import main

if __name__ == "__main__":
    main(["edit", *sys.argv[1:]])
