"""The commands in blocks of shell, and what the command line says of them without carrying them out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import click

from i2s_batch.cli import commands

JOBS = re.compile(r"jobs/(\w+)\.py")
_OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")


def lines_of(block: str) -> list[str]:
    """Return the commands of a block of shell: continued lines joined, comments and empty lines left out."""
    lines = block.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def words_of(line: str) -> Iterator[list[str]]:
    """Yield the words of each command of a line, without assignments in front of it."""
    for part in line.split(" && "):
        words = shlex.split(part, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        yield words


def ours(words: list[str]) -> list[str] | None:
    """Return the words that follow `i2s-batch`, whatever starts it; None for a command of somebody else."""
    if Path(words[0]).name == "i2s-batch":
        return words[1:]
    for number, word in enumerate(words):
        if job := JOBS.fullmatch(word):
            return [job[1], *words[number + 1 :]]
    return None


def check(words: list[str]) -> None:
    """Parse the words of a command of ours as it would itself, without carrying it out. Raises click.UsageError."""
    command: click.Command = commands
    context: click.Context | None = None
    while isinstance(command, click.Group):
        if command.invoke_without_command and context is not None and words[0].startswith("-"):
            break  # a command that has others below it, such as bench
        context = click.Context(command, parent=context, info_name=command.name)
        name, words = words[0], words[1:]
        below = command.get_command(context, name)
        if below is None:
            raise click.UsageError(f"there is no command {name}")
        command = below
    command.make_context(str(command.name), list(words), parent=context)


def missing_module(words: list[str]) -> str | None:
    """Return the module of `python -m MODULE` if it is one of this repository and does not exist."""
    if words[1:2] == ["-m"] and words[2].startswith(("i2s_batch.", "tests.")) and find_spec(words[2]) is None:
        return words[2]
    return None


def shown_options(command: click.Command = commands, parent: click.Context | None = None) -> set[str]:
    """Return every option that the help of some command shows: old names of options are hidden."""
    context = click.Context(command, parent=parent, info_name=command.name)
    records = (parameter.get_help_record(context) for parameter in command.get_params(context))
    found = {option for record in records if record is not None for option in _OPTION.findall(record[0])}
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        below = command.get_command(context, name)  # type: ignore[union-attr]
        found |= shown_options(below, context) if below is not None else set()
    return found


def named_options(text: str) -> set[str]:
    """Return the options that a page names outside its blocks of code, but for those of a `python ...` in a line."""
    return set(_OPTION.findall(re.sub(r"`(?:\w+=\S+ )?(?:python3?|pytest|nox|mkdocs) [^`]*`", "", prose_of(text))))


def prose_of(text: str) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
