"""Hooks of MkDocs: what pages get when the site is built.

- The command line reference is written from the commands themselves.
- A notebook is shown as it was executed: its cells and what they gave.
- The line that opens a block of code may say more than its language (`tests/documents/pages.py`); the site shows why a
  block is not run by the tests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from i2s_batch.cli import commands

COMMANDS = "<!-- commands -->"
_NOTEBOOK = re.compile(r"<!-- notebook: (\S+) -->")
_FENCE = re.compile(r"^```(\w+) +([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return the Markdown of a page as the site needs it."""
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, "\n".join(_reference(commands, None, "i2s-batch")))
    markdown = _FENCE.sub(_plain_fence, markdown)
    return _NOTEBOOK.sub(lambda match: "\n\n".join(_cells(Path(__file__).parent / match[1])), markdown)


def _plain_fence(fence: re.Match[str]) -> str:
    """Return a block whose first line is its language alone, beside what that line said for readers."""
    language, words, code = fence.groups()
    about = dict(word.split("=", 1) for word in words.split())
    reason = about.get("not-run", "").replace("-", " ")
    after = f'\n\n<p class="not-run">Not run by the tests: {reason}.</p>\n' if reason else ""
    return f"```{language}\n{code}```{after}"


def _cells(path: Path) -> Iterator[str]:
    """Yield the cells of a notebook as Markdown, each with what it gave."""
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield re.sub(r"^# ", "## ", source)  # the page has a title already
        elif cell["cell_type"] == "code":
            yield f"```python\n{source}\n```"
            yield from (shown for output in cell["outputs"] if (shown := _output(output)))


def _output(output: dict[str, Any]) -> str:
    """Return one output of a cell as Markdown: an image, HTML, or text; nothing for what only Jupyter can show."""
    if output["output_type"] == "stream":
        return f"```text\n{''.join(output['text']).rstrip()}\n```"
    data = output.get("data", {})
    if "image/png" in data:
        return f'<img alt="output" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
    if "text/html" in data:
        return f'<div class="output">{" ".join("".join(data["text/html"]).split())}</div>'
    return f"```text\n{''.join(data['text/plain']).rstrip()}\n```" if "text/plain" in data else ""


class _MarkdownFormatter(click.HelpFormatter):
    """Writes the help of a command as Markdown, in the sections that the command gives it."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        self.write(f"\n```text\n{prog} {args}\n```\n")

    def write_heading(self, heading: str) -> None:
        self.write(f"\n**{heading}**\n\n")

    def write_text(self, text: str) -> None:
        for paragraph in text.split("\n\n"):
            lines = paragraph.strip("\n").splitlines()
            as_it_stands = bool(lines) and lines[0].strip() == "\b"
            self.write("\n```text\n" if as_it_stands else "\n")
            self.write("\n".join(lines[1:] if as_it_stands else map(_escaped, lines)))
            self.write("\n```\n" if as_it_stands else "\n")

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        # Markdown splits no cell at a bar within code.
        self.write("| | what it does |\n|---|---|\n")
        for name, text in rows:
            self.write(f"| `{name}` | {_escaped(text)} |\n")


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", r"\|").strip()


def _reference(command: click.Command, parent: click.Context | None, name: str) -> Iterator[str]:
    """Yield the Markdown of a command and of those below it."""
    context = click.Context(command, info_name=name, parent=parent)
    formatter = _MarkdownFormatter()
    command.format_help(context, formatter)
    level = "##" if parent is None or parent.parent is None else "###"
    yield f"{level} {context.command_path}\n{formatter.getvalue()}"
    for each in _below(command, context):
        yield from _reference(each, context, str(each.name))


def _below(command: click.Command, context: click.Context) -> Iterable[click.Command]:
    if isinstance(command, click.Group):
        found = (command.get_command(context, name) for name in command.list_commands(context))
        yield from (each for each in found if each is not None and not each.hidden)
