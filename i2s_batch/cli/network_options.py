"""Gives every command that takes a network the options for published weights: their licence, and no network access.

A licence is accepted once: the options record it in the folder of caches, where whatever loads the weights looks.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from i2s_batch.cli.help_groups import INPUT, GroupedOption
from i2s_batch.weights.licences import Licence
from i2s_batch.weights.published import PUBLISHED

_NETWORKS = ("generator", "vgg", "checkpoint")  # the parameters that may be the name of published weights
_ACCEPT, _OFFLINE = "i2s_batch.accept_licence", "i2s_batch.offline"  # in click's context
ACCEPT_HELP = "Accept the licence of published weights, such as ffhq1024; needed once on a machine."
OFFLINE_HELP = "Fetch no weights from the network: use those that are cached. I2S_OFFLINE=1 does the same."


def add_network_options(command: click.Command) -> None:
    """Give a command that takes a network, and those below it, `--accept-licence` and `--offline`."""
    if any(each.name in _NETWORKS for each in command.params) and command.callback is not None:
        command.params += [_flag("--accept-licence", _ACCEPT, ACCEPT_HELP), _flag("--offline", _OFFLINE, OFFLINE_HELP)]
        command.callback = _prepared(command.callback)
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        add_network_options(below)


def _flag(name: str, key: str, text: str) -> click.Option:
    def keep(context: click.Context, _: click.Parameter, value: bool) -> None:
        context.meta[key] = value

    return GroupedOption([name], group=INPUT, is_flag=True, expose_value=False, callback=keep, help=text)


def _prepared(callback: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(callback)
    def prepared(*arguments: Any, **options: Any) -> Any:
        context = click.get_current_context()
        if context.meta.get(_OFFLINE):
            go_offline()
        for name in _named(context):
            settle_licence(name, is_accepted=bool(context.meta.get(_ACCEPT)))
        return callback(*arguments, **options)

    return prepared


def _named(context: click.Context) -> Iterator[str]:
    for parameter in _NETWORKS:
        if (name := context.params.get(parameter)) in PUBLISHED:
            yield str(name)


def go_offline() -> None:
    """Let this process, and those that it starts, fetch nothing from a web server."""
    from i2s_batch.storage.downloads import OFFLINE

    os.environ[OFFLINE] = "1"


def settle_licence(name: str, is_accepted: bool) -> None:
    """Record that the licence of published weights is accepted: it is said so, or somebody is there to be asked.

    Raises:
        click.ClickException: Whoever was asked does not accept it.
    """
    from i2s_batch.api.weight_files import accept_licence_of, weights_named

    known = weights_named(name)
    if known.accepted or (known.file is not None and not is_accepted):
        return
    is_asked = not is_accepted and sys.stdin.isatty() and sys.stderr.isatty() and not known.entry.by_browser
    if not is_accepted and not is_asked:
        return  # whatever loads the weights says what is missing
    click.echo(_shown(name, known.entry.licence), err=True)
    if is_asked and not click.confirm("Do you accept it?", err=True):
        raise click.ClickException("the licence was not accepted; nothing was fetched")
    accept_licence_of(name)


def _shown(name: str, licence: Licence) -> str:
    return f"{name} is under the {licence}. {licence.summary}"
