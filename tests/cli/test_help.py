"""`--help` and docstrings: every option is explained, in full sentences, and no summary is cut."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from i2s_batch.cli import commands
from tests.program import status_of

ROOT = Path(__file__).parents[2]
COLUMNS = 80
EDIT = "What the edit does"  # whose options have no default where an edit is asked for in one of several ways
# Words with which a fragment begins: what follows is no sentence of its own.
FRAGMENTS = (
    *("As", "At", "By", "For", "From", "How", "If", "In", "Instead", "None", "Of", "On", "That", "To", "What", "When"),
    *("Where", "Whether", "Which", "Who", "Whose", "Why", "With", "Without"),
)
PROGRAMS = sorted(
    f"i2s_batch.{package}.{path.stem}"
    for package in ("bench", "demo")
    for path in (ROOT / "i2s_batch" / package).glob("*.py")
    if "__main__" in path.read_text()
)
PACKAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (*(ROOT / "i2s_batch").iterdir(), ROOT / "jobs")
    if path.suffix == ".py" or (path / "__init__.py").exists() or path.name == "jobs"
)


def described_commands(command: click.Command = commands, *path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command below a group, and the group itself, with its words."""
    yield " ".join(path), command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from described_commands(below, *path, name)


COMMANDS = dict(described_commands())


def objection(text: str) -> str:
    """Return what is wrong with a sentence; '' if nothing is."""
    if not re.match(r"[A-Z`]", text):
        return "it begins with neither a capital nor a name in backticks"
    if (first := re.split(r"\W", text, maxsplit=1)[0]) in FRAGMENTS:
        return f"it begins with {first!r}, as a fragment does"
    return "" if text.endswith(".") else "it ends without a full stop"


def page(words: str) -> str:
    """Return the page that `--help` shows in a terminal of 80 columns."""
    result = CliRunner().invoke(commands, [*words.split(), "--help"], terminal_width=COLUMNS)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("words", COMMANDS)
def test_every_option_is_explained_by_a_sentence_that_names_its_default(words: str) -> None:
    options = [each for each in COMMANDS[words].params if isinstance(each, click.Option)]
    assert options
    for option in options:
        text = option.help or ""
        assert not objection(text), f"{words} {option.opts[0]}: {objection(text)}: {text!r}"
        # A plain flag is off by default. Where there is no default, newer releases of Click have not None but a mark.
        shown = isinstance(option.default, (bool, int, float, str)) or (option.is_flag and not option.secondary_opts)
        if not shown and not option.required and getattr(option, "group", EDIT) != EDIT:
            assert "Default: " in text, f"{words} {option.opts[0]} says nothing of its default"


@pytest.mark.parametrize("words", COMMANDS)
def test_every_argument_is_explained(words: str) -> None:
    text = COMMANDS[words].help or ""
    assert not objection(text.strip().partition("\n")[0])
    for argument in COMMANDS[words].params:
        if isinstance(argument, click.Argument):
            names = re.findall(r"[A-Z_]{2,}", argument.metavar or str(argument.name).upper())
            assert names and all(re.search(rf"\b{name}\b[^\n]* (is|are|holds|gets|an image)\b", text) for name in names)


@pytest.mark.parametrize("words", COMMANDS)
def test_a_page_fits_and_no_summary_is_cut(words: str) -> None:
    usage, *lines = page(words).splitlines()
    assert usage.startswith("Usage: ") and all(len(line) <= COLUMNS for line in lines)
    if isinstance(COMMANDS[words], click.Group):
        summaries = [
            line for line in lines if line.split(maxsplit=1)[:1] and line.split()[0] in COMMANDS[words].commands
        ]
        assert not [line for line in lines if line.endswith("...")]
        assert words or len(summaries) == len(commands.commands)


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_takes_each_of_its_options(words: str) -> None:
    """A decorator that gives an option to several commands must not give it to one that cannot take it."""
    command = COMMANDS[words]
    if command.callback is not None and not isinstance(command, click.Group):
        given = {each.name: None for each in command.params if each.expose_value}
        inspect.signature(command.callback).bind(**given)


def test_the_important_options_come_first() -> None:
    headings = [line for line in page("embed").splitlines() if re.fullmatch(r"\S.*:", line)]
    assert headings == [
        "Input and networks:",
        "How an image is embedded:",
        "How the run is carried out:",
        "Devices and speed:",
        "Other:",
    ]
    assert page("edit morph").index("What the edit does:") < page("edit morph").index("Which images:")


EMBED = ("SOURCE", "OUT", "--generator", "g.pkl")
RENAMED = {
    "--grow": ("embed", EMBED, "--update", ()),
    "--stop-plateau": ("embed", EMBED, "--early-stopping", ("0.5",)),
    "--plateau-steps": ("study", ("init", *EMBED), "--patience", ("30",)),
    "--classes": ("study", ("init", *EMBED), "--class-column", ("kind",)),
    "--pictures": ("bench", ("--generator", "g.pkl"), "--images", ("SOURCE",)),
    "--jobs": ("edit morph", ("TABLE", "OUT"), "--edit-list", ("edits.csv",)),
}


@pytest.mark.parametrize("old", RENAMED)
def test_an_old_name_does_what_the_new_one_does_and_is_not_shown(old: str) -> None:
    words, arguments, new, value = RENAMED[old]
    command = COMMANDS[words]
    by_name = [command.make_context(words, [*arguments, name, *value]).params for name in (new, old)]
    assert by_name[0] == by_name[1] != command.make_context(words, list(arguments)).params
    assert new in page(words) and not re.search(rf"{old}\b", page(words))


def test_a_message_names_an_option_as_help_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("embed", *EMBED, "--stop-plateau", "much") == 2
    assert "'--early-stopping'" in (line := capsys.readouterr().err) and "plateau" not in line
    assert status_of("embed", *EMBED, "--plateau-steps", "100") == 2
    assert "--patience has no effect without --early-stopping" in capsys.readouterr().err


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_options_of_other_programs_are_explained(
    program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [program, "--help"])
    monkeypatch.delitem(sys.modules, program, raising=False)
    with pytest.raises(SystemExit) as left:
        runpy.run_module(program, run_name="__main__")
    assert left.value.code == 0 and f"usage: python -m {program}" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())

    helps: dict[str, str] = {}
    add_argument = argparse.ArgumentParser.add_argument

    def record(parser: argparse.ArgumentParser, *names: str, **settings: Any) -> argparse.Action:
        helps[names[-1]] = settings.get("help", "").partition(" [default")[0]
        return add_argument(parser, *names, **settings)

    monkeypatch.setattr(argparse.ArgumentParser, "add_argument", record)
    with pytest.raises(SystemExit):
        runpy.run_module(program, run_name="__main__")
    assert helps.pop("--help") and helps
    assert not {name: wrong for name, text in helps.items() if (wrong := objection(text))}


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the first line of every docstring in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text is not None:
                yield node.body[0].lineno, text.partition("\n")[0]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_docstring_begins_with_a_full_sentence_on_one_line(package: str) -> None:
    place = ROOT / package
    faults = [
        f"{path.relative_to(ROOT)}:{line}: {wrong}: {text!r}"
        for path in (sorted(place.rglob("*.py")) if place.is_dir() else [place])
        for line, text in docstrings(path)
        if (wrong := objection(text))
    ]
    assert not faults, "\n" + "\n".join(faults)
