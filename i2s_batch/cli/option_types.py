"""Defines the types of the options' values: how a text of the command line is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click

from i2s_batch.config import TERMS
from i2s_batch.storage.urls import is_url
from i2s_batch.weights.published import PUBLISHED

if TYPE_CHECKING:
    _WholeOrNone: TypeAlias = click.ParamType[int | None]
    _Text: TypeAlias = click.ParamType[str]
    _Number: TypeAlias = click.ParamType[float]
    _Weights: TypeAlias = click.ParamType[Mapping[str, float]]
else:
    _WholeOrNone = _Text = _Number = _Weights = click.ParamType  # which older releases of Click cannot subscript


class Price(_Number):
    """Reads a positive, finite number: Click's own range lets nan and inf pass."""

    name = "float"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        try:
            number = float(str(value))
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            self.fail(f"{value!r} is no price; give a finite number above 0", param, ctx)
        return number


class AutoOr(_WholeOrNone):
    """Reads an option that is `auto` (None) or a positive whole number."""

    name = "auto|N"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Return the number, or None for `auto`."""
        if value is None or value == "auto":
            return None
        try:
            number = int(str(value))
        except ValueError:
            number = 0
        if number < 1:
            self.fail(f"{value!r} is neither 'auto' nor a whole number from 1 up", param, ctx)
        return number


class Location(_Text):
    """Reads a path or a URL; `names` are the values that mean no file.

    A recorded command holds a path as an absolute one (`run_command.command_words`).
    """

    name = "text"

    def __init__(self, *names: str) -> None:
        self.names = names

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text as it is."""
        return str(value)

    def absolute(self, value: str) -> str:
        """Return the value as it means the same from any folder."""
        return value if is_url(value) or value in self.names else str(Path(value).absolute())


class Checkpoint(Location):
    """Reads the path or URL of a generator, or the name of published weights."""

    def absolute(self, value: str) -> str:
        """Return a path as an absolute one, and a name as it is."""
        return value if value in PUBLISHED else super().absolute(value)


class Weights(_Weights):
    """Reads weights of loss terms, such as `pixel=1,conv3_2=0.5`."""

    name = "text"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Mapping[str, float]:
        """Return the weights by the names of their terms."""
        weights: dict[str, float] = {}
        for part in str(value).split(","):
            term, equals, number = (each.strip() for each in part.partition("="))
            if not equals:
                self.fail(f"{part.strip()!r} is no TERM=WEIGHT; give such as 'pixel=1,conv3_2=0.5'", param, ctx)
            if term not in TERMS:
                self.fail(f"{term!r} is no loss term; the terms are {', '.join(TERMS)}", param, ctx)
            if term in weights:
                self.fail(f"{term!r} is given twice; leave one out", param, ctx)
            try:
                weights[term] = float(number)
            except ValueError:
                self.fail(f"the weight of {term} is {number!r}; it must be a number", param, ctx)
        return weights
