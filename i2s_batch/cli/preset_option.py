"""Reads `--preset`: its settings take the place of the options' defaults, below those of `--config`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from i2s_batch.cli.help_groups import EMBEDDING, option
from i2s_batch.cli.settings_file import defaults_of, one_recipe, without_noise_stage
from i2s_batch.presets import PRESETS

F = TypeVar("F", bound=Callable[..., object])


def preset_option() -> Callable[[F], F]:
    """Return the option `--preset`, which is read before all others but `--config`."""
    meanings = "; ".join(f"{each.name}: {each.summary[0].lower()}{each.summary[1:].rstrip('.')}" for each in _SHOWN)
    return option(
        "--preset",
        group=EMBEDDING,
        type=click.Choice(tuple(PRESETS)),
        default=None,
        is_eager=True,
        callback=_take_defaults,
        help=f"Settings that belong together, for options that are given neither here nor in --config. {meanings}. All "
        "but paper need --learned. Default: paper.",
    )


_SHOWN = tuple(PRESETS.values())


def _take_defaults(context: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    """Make the settings of the preset the defaults of the command's other options, where --config has none."""
    if name is not None and not context.resilient_parsing:
        one_recipe(context, parameter, f"the preset {name!r}")
        values = defaults_of(context.command, without_noise_stage(context.command, PRESETS[name].overrides))
        context.default_map = {**values, **(context.default_map or {})}
    return name
