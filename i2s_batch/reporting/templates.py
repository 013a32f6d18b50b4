"""Opens the templates of pages. Whatever a table holds is escaped: names of files and errors are not trusted."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from i2s_batch.images.draw import difference
from i2s_batch.reporting import charts


@cache
def _environment() -> Environment:
    loader = PackageLoader("i2s_batch.reporting", package_path="")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"charts": charts, "number": charts.number, "difference": difference, "address": _address}
    return environment


def template(name: str) -> Template:
    """Return the template in the file `name`.html.jinja."""
    return _environment().get_template(f"{name}.html.jinja")


def _address(url: str, base: str) -> str:
    """Return a URL of a picture as a page needs it; `base`: the way from the page to OUT, such as '../'."""
    return url if url.startswith(("data:", "file:")) else base + url
