"""Builds the command lines of the measuring programs, `python -m i2s_batch.bench.NAME`."""

from __future__ import annotations

import argparse


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows the default of each option, and the description line by line as its module has it."""


def parser_of(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of the program `i2s_batch.bench.NAME`, whose description is the docstring of its module."""
    return argparse.ArgumentParser(
        prog=f"python -m i2s_batch.bench.{name}", description=description, formatter_class=_Formatter
    )
