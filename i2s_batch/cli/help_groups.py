"""Defines the look of `--help`: options and commands in groups under headings, the important ones first.

    @click.command(cls=GroupedCommand)
    @option("--steps", default=5000, group=EMBEDDING, help="Optimizer steps per image.")

An option carries its heading with it, so that options which several commands share stand under the same one everywhere.
The headings that only one command has come first, then those below, in their order. These few lines take the place of a
library for option groups, such as cloup, whose commands and formatter would replace Click's for the headings alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

INPUT = "Input and networks"
EMBEDDING = "How an image is embedded"
SELECTION = "Which images"
OUTPUT = "Output"
RUN = "How the run is carried out"
SPEED = "Devices and speed"
OTHER = "Other"
_SHARED = (INPUT, EMBEDDING, SELECTION, OUTPUT, RUN, SPEED, OTHER)


class GroupedOption(click.Option):
    """Stands under a heading. Its `aliases` are earlier names, which keep working and are not shown."""

    def __init__(
        self, param_decls: Sequence[str], *, group: str = OTHER, aliases: Sequence[str] = (), **attributes: Any
    ) -> None:
        super().__init__([*param_decls, *aliases], **attributes)
        self.group = group
        self._shown = [name for name in self.opts if name not in aliases]

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the option's names and text in `--help`, without the aliases."""
        names, self.opts = self.opts, self._shown
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts = names

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Return the option's names as messages show them, without the aliases."""
        return " / ".join(f"'{name}'" for name in self._shown)


def option(*names: str, group: str, aliases: Sequence[str] = (), **attributes: Any) -> Callable[[F], F]:
    """Return a decorator as `click.option` does; the default is shown in `--help` where there is one."""
    attributes.setdefault("show_default", True)
    return click.option(*names, cls=GroupedOption, group=group, aliases=aliases, **attributes)


class GroupedCommand(click.Command):
    """Shows a heading for each group of its options in `--help`; Click's own options come last."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for each in self.get_params(ctx):
            record = None if isinstance(each, click.Argument) else each.get_help_record(ctx)
            if record is not None:
                heading = each.group if isinstance(each, GroupedOption) else OTHER
                groups.setdefault(heading, []).append(record)
        own = [heading for heading in groups if heading not in _SHARED]
        for heading in (*own, *(heading for heading in _SHARED if heading in groups)):
            with formatter.section(heading):
                formatter.write_dl(groups[heading])


class GroupedCommands(click.Group):
    """Shows its commands under headings, in the order in which they were added."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self._headings: dict[str, list[str]] = {}

    def add_group(self, heading: str, commands: Sequence[click.Command]) -> None:
        """Add commands under a heading."""
        for command in commands:
            self.add_command(command)
            self._headings.setdefault(heading, []).append(str(command.name))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands as they are shown."""
        return [name for names in self._by_heading().values() for name in names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their summaries under their headings."""
        width = max(map(len, self.commands))
        for heading, names in self._by_heading().items():
            # All summaries stand in one column, whichever heading they are under.
            rows = [(f"{name:{width}}", self._summary(name, formatter.width - width)) for name in names]
            with formatter.section(heading):
                formatter.write_dl(rows)

    def _by_heading(self) -> dict[str, list[str]]:
        """Return the names of the commands by heading; those that were added without one come last."""
        grouped = {name for names in self._headings.values() for name in names}
        others = [name for name in self.commands if name not in grouped]
        return self._headings | ({OTHER: others} if others else {})

    def _summary(self, name: str, room: int) -> str:
        return self.commands[name].get_short_help_str(room - 6)
