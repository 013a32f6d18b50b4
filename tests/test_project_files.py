"""The files around the package agree with it and with each other: image, public CI, sessions, hooks, citation."""

from __future__ import annotations

import ast
import fnmatch
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.test_declared import tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield the instructions of a Dockerfile: name and value, lines that end in a backslash joined, no comments."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        name, _, value = line.strip().partition(" ")
        if name:
            yield name, value.strip()


IMAGE = list(instructions((ROOT / "Dockerfile").read_text()))


def stages() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """The stages of the Dockerfile: what each is built on, and its instructions."""
    found: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    name = ""
    for instruction, value in IMAGE:
        if instruction == "FROM":
            base, _, name = value.partition(" AS ")
            found[name] = (base, [])
        else:
            found[name][1].append((instruction, value))
    return found


def test_every_stage_of_the_image_stands_on_an_earlier_one() -> None:
    earlier = {"debian:bookworm-slim"}
    for name, (base, body) in stages().items():
        assert base in earlier
        copies = [value.split()[0] for instruction, value in body if instruction == "COPY"]
        copied = [first.removeprefix("--from=") for first in copies if first.startswith("--from=")]
        assert set(copied) <= earlier
        earlier.add(name)
    assert {"cpu", "cuda"} <= earlier
    known = {"FROM", "SHELL", "RUN", "ENV", "ARG", "COPY", "WORKDIR", "USER", "ENTRYPOINT", "CMD"}
    assert {instruction for instruction, _ in IMAGE} <= known


@pytest.mark.parametrize("variant", ["cpu", "cuda"])
def test_a_variant_of_the_image_runs_as_nobody_special(variant: str) -> None:
    users = [value for instruction, value in stages()[variant][1] if instruction == "USER"]
    assert users == ["1000:1000"] and all(what != "USER" for what, _ in stages()["runtime"][1])
    assert ("ENTRYPOINT", '["i2s-batch"]') in stages()["runtime"][1] and "i2s-batch" in PROJECT["scripts"]


def test_the_commands_of_the_image_are_bash() -> None:
    commands = [value for instruction, value in IMAGE if instruction == "RUN"]
    assert len(commands) >= 6
    for command in commands:
        subprocess.run(["bash", "-n", "-c", command], check=True)


def test_the_image_copies_what_there_is_and_the_context_lets_through() -> None:
    ignore = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert ignore[0] == "*"  # credentials and images of whoever builds stay out
    let_through = [line.removeprefix("!") for line in ignore if line.startswith("!")]
    for instruction, value in IMAGE:
        if instruction == "COPY" and not value.startswith("--from"):
            for source in value.split()[:-1]:
                assert (ROOT / source).exists() and any(fnmatch.fnmatch(source, each) for each in let_through)


def test_the_image_takes_the_torch_that_the_package_takes() -> None:
    asked = dict(re.findall(r'"(torch(?:vision)?)(>=[\d.]+)"', (ROOT / "Dockerfile").read_text()))
    declared = dict(re.findall(r"(torch(?:vision)?)(>=[\d.]+)", "\n".join(PROJECT["dependencies"])))
    assert asked == declared and len(asked) == 2


def sessions() -> set[str]:
    tree = ast.parse((ROOT / "noxfile.py").read_text())
    decorated = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list]
    return {node.name for node in decorated}


def sessions_in(text: str) -> set[str]:
    """The sessions that a text runs with nox."""
    return {name for names in re.findall(r"nox\b[^\n]*? -s ([a-z ]+)", text) for name in names.split()}


@pytest.mark.parametrize("file", [".ci/run", ".github/workflows/ci.yml", "CONTRIBUTING.md"])
def test_every_session_that_is_named_exists(file: str) -> None:
    named = sessions_in((ROOT / file).read_text())
    assert {"lint", "types", "docs", "tests"} <= named <= sessions()


def test_public_ci_covers_every_python_that_is_declared() -> None:
    said = [each.rpartition(" ")[2] for each in PROJECT["classifiers"]]
    versions = sorted((each for each in said if re.fullmatch(r"3\.\d+", each)), key=lambda each: int(each[2:]))
    assert WORKFLOW["jobs"]["quick"]["strategy"]["matrix"]["python"] == versions
    assert PROJECT["requires-python"] == f">={versions[0]}"
    assert f'OLDEST_PYTHON = "{versions[0]}"' in (ROOT / "noxfile.py").read_text()
    lowest = [step["with"]["python-version"] for step in WORKFLOW["jobs"]["lowest"]["steps"] if "with" in step]
    assert lowest == [versions[0]]


def test_hooks_before_a_commit_are_programs_of_the_test_extra() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [each["repo"] for each in hooks] == ["local"]  # nothing is fetched
    entries = [hook["entry"].split()[0] for hook in hooks[0]["hooks"]]
    assert set(entries) <= {"ruff", "python"}
    assert {hook["language"] for hook in hooks[0]["hooks"]} == {"system"}


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"] and citation["license"] == PROJECT["license"]
    (paper,) = citation["references"]
    assert paper["url"] == PROJECT["urls"]["Paper"] and len(paper["authors"]) == 3


def test_the_change_log_has_this_version_and_what_comes() -> None:
    headings = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[:2] == ["Unreleased", PROJECT["version"]]


@pytest.mark.parametrize("file", ["CONTRIBUTING.md", "SECURITY.md"])
def test_files_that_a_page_names_exist(file: str) -> None:
    """Paths in backquotes and in links; those of CONTRIBUTING's tour are below the package."""
    text = (ROOT / file).read_text()
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", text) + re.findall(r"\]\(([\w./-]+)\)", text)
    later = {"docs/extending.md"}
    missing = [each for each in named if not ((ROOT / each).exists() or (ROOT / "i2s_batch" / each).exists())]
    assert len(named) > 5 and set(missing) <= {"cli/NAME.py"} | later
