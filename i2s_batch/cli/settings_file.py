"""Reads the file of `--config`: options of a command, or the settings that run.json records, in JSON or TOML.

What the file holds takes the place of the options' defaults; an option on the command line wins. The values are read
as those of the command line are, so that both have the same limits and messages.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import click

from i2s_batch.cli.help_groups import EMBEDDING, option
from i2s_batch.cli.option_types import Location
from i2s_batch.config import Json

F = TypeVar("F", bound=Callable[..., object])

_LARGEST_BYTES = 10_000_000
_RECIPE = "i2s_batch.recipe"  # the whole recipe that a command was given, in click's context
# Options that say what one call does, rather than what a run is; a file that sets them would surprise.
_NOT_IN_A_FILE = (
    *("config", "dry_run", "update", "grow", "retry_failed", "overwrite", "yes", "source_moved", "help", "debug"),
    *("accept_licence", "offline"),
)


def config_option() -> Callable[[F], F]:
    """Return the option `--config`, which is read before all others."""
    return option(
        "--config",
        group=EMBEDDING,
        type=Location(),
        is_eager=True,
        expose_value=False,
        callback=_take_defaults,
        metavar="FILE",
        help="File with values of these options, in JSON or TOML: names without the dashes, such as "
        '{"steps": 1000}, or the run.json of another run, whose settings are taken. An option that is given here too '
        "wins. Default: none.",
    )


def _take_defaults(context: click.Context, parameter: click.Parameter, path: str | None) -> None:
    """Make the values of the file the defaults of the command's other options."""
    if path is None or context.resilient_parsing:
        return
    try:
        content = _content(path)
        settings = _recorded(content)
        if settings is not None:
            one_recipe(context, parameter, f"the run.json {path!r}")
            settings = without_noise_stage(context.command, settings)
        values = defaults_of(context.command, content if settings is None else settings)
    except ValueError as error:
        raise click.BadParameter(f"{path!r} {error}", context, parameter) from error
    context.default_map = {**(context.default_map or {}), **values}


def one_recipe(context: click.Context, parameter: click.Parameter, recipe: str) -> None:
    """Refuse a preset beside a run.json: what that run had as usual would be the preset's, and so be mixed."""
    other = context.meta.setdefault(_RECIPE, recipe)
    if other != recipe:
        raise click.BadParameter(f"{recipe} and {other} are whole recipes; leave one of them out", context, parameter)


def without_noise_stage(command: click.Command, values: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return the settings of a recipe without those of the noise stage, if the command has none, as studies."""
    has_stage = any(each.name == "noise_steps" for each in command.params)
    return {name: value for name, value in values.items() if has_stage or not name.startswith("noise_")}


def _content(path: str) -> Mapping[str, Json]:
    """Return the settings in a file, by name. Raises ValueError; the message continues the path."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}; give a JSON or TOML file") from error
    if len(data) > _LARGEST_BYTES:
        raise ValueError(f"has more than {_LARGEST_BYTES} bytes, which no settings have")
    kind, load = ("TOML", tomllib.loads) if path.lower().endswith(".toml") else ("JSON", _json)
    try:
        values = load(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # of both formats, and of text that is not UTF-8
        raise ValueError(f"is not {kind}: {error}") from error
    if not isinstance(values, dict):
        raise ValueError('does not hold names and values, such as {"steps": 1000}')
    return values


def _recorded(values: Mapping[str, Json]) -> Mapping[str, Json] | None:
    """Return the settings of a run.json; None for the content of another file."""
    settings = values.get("settings")
    if not isinstance(settings, dict):
        return None
    if "learned" in settings:  # a run.json records the learned file's fingerprint, and its path apart
        given = values.get("given")
        settings = settings | {"learned": given.get("learned") if isinstance(given, dict) else None}
    return settings


def _json(text: str) -> object:
    return json.loads(text, object_pairs_hook=_each_once)


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object; ValueError if it has a name twice, of which JSON would take the last without a word."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it has {doubled!r} twice")
    return values


def defaults_of(command: click.Command, values: Mapping[str, Json]) -> dict[str, str | list[str]]:
    """Return the values as texts of the command line, by the names of the command's parameters. Raises ValueError."""
    options = {
        name.lstrip("-").replace("-", "_"): each
        for each in command.params
        if isinstance(each, click.Option)
        for name in each.opts
    }
    given: dict[str, str] = {}
    defaults: dict[str, str | list[str]] = {}
    for name, value in values.items():
        plain = name.replace("-", "_")
        if value is None or (plain == "study" and command.name == "study"):  # which is the command's argument
            continue
        if plain not in options or plain in _NOT_IN_A_FILE:
            raise ValueError(f"holds {name!r}; {_advice(plain, options, command)}")
        parameter = options[plain]
        target = str(parameter.name)
        if target in given:
            raise ValueError(f"holds both {given[target]!r} and {name!r}, which are the same option; leave one out")
        given[target] = name
        defaults[target] = _texts(name, value) if parameter.multiple else _text(name, value)
    return defaults


def _advice(name: str, options: Mapping[str, click.Option], command: click.Command) -> str:
    if name in options:
        return f"give --{name.replace('_', '-')} on the command line"
    near = difflib.get_close_matches(name, [each for each in options if each not in _NOT_IN_A_FILE], 1)
    what = f"i2s-batch {command.name} has no such option"
    return f"{what}; did you mean {near[0]!r}?" if near else f"{what}; leave it out"


def _texts(name: str, value: object) -> list[str]:
    return [_text(name, each) for each in value] if isinstance(value, list) else [_text(name, value)]


def _text(name: str, value: object) -> str:
    """Return a value as it stands on a command line. Raises ValueError."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, dict) and value:  # of named numbers, such as loss weights
        return ",".join(f"{key}={_text(f'{name}.{key}', number)}" for key, number in value.items())
    raise ValueError(f"holds {name!r} = {_shown(value)}, which is neither a text nor a number")


def _shown(value: object) -> Json:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
