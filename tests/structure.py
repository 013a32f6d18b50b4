"""Count what the structure of the package comes to: `python -m tests.structure [--files] [--json FILE]`.

The way of an image, and of a latent, is what its command reaches in the syntax trees (`tests.calls.graph` states what
is followed). Every alternative counts that one run may take: local files and S3, a folder and a list, Ray and this
process, three generators. A file counts when a function or a class of it is reached, a call when its target lies in
another file. `WAYS` names where each way begins and what does not belong to it:

- what comes after the row: report and contact sheet;
- other programs: studies, measurements, demo;
- what happens once in a process, not for each image: reading the networks' weights, building command lines;
- what only watches: progress, status, summary.json, the file for a bug report.

"with its run" is the same way with the last two groups, as a whole command runs. Import cycles and wrong arrows are
those that tests/test_layers.py finds. Lengths of functions are in lines, from `def` to the last line of the body.
"""

from __future__ import annotations

import argparse
import ast
import json
import statistics
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from i2s_batch.engine_registries import INITIALISATIONS, METRICS, OPTIMIZERS
from i2s_batch.registry import Registry
from i2s_batch.sources.registered import SOURCES
from i2s_batch.storage.schemes import SCHEMES
from tests import test_layers
from tests.calls.graph import Reached, reach
from tests.calls.names import Function, Package, last_name

ROOT = Path(__file__).parents[1]
NAME = "i2s_batch"

AFTER = (
    "reporting",
    "api/reports.py",
    "embedding/report_part.py",
    "embedding/samples.py",
    "editing/report_part.py",
    "editing/strips.py",
)
OTHER = ("studies", "bench", "demo")
ONCE = (
    "cli/options.py",
    "models/checkpoints",
    "models/random_weights.py",
    "models/loading.py",
    "storage/downloads.py",
)
WATCHING = (
    "run/progress.py",
    "run/status.py",
    "run/row_survey.py",
    "run/terminal.py",
    "output/summary_file.py",
    "cli/bug_report.py",
)
WITH_ITS_RUN = AFTER + OTHER
OWN = WITH_ITS_RUN + ONCE + WATCHING


def _declared(*registries: Registry[Any]) -> tuple[str, ...]:
    """Return the targets of registries, which are found by name when they are first used, as entries of a way."""
    targets = (each.target.partition(":") for registry in registries for each in registry)
    return tuple(f"{module.removeprefix(f'{NAME}.').replace('.', '/')}.py:{name}" for module, _, name in targets)


EMBED = ("cli/embed.py:embed", *_declared(SOURCES, SCHEMES, OPTIMIZERS, INITIALISATIONS, METRICS))
EDITS = ("morph", "style", "expression", "reenact", "render")
EDIT = (
    "cli/edit.py:_run",
    *(f"editing/edits/{name}.py:latent" for name in EDITS if name != "reenact"),  # whose latent is an expression's
    *(f"editing/edits/{name}.py:{name.title()}" for name in EDITS),
    *_declared(SCHEMES),
)
# Of each way: the functions and classes at which it begins, below the package, and the files and folders that are not
# on it.
WAYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "an image's way": (EMBED, OWN),
    "an image's way, with its run": (EMBED, WITH_ITS_RUN),
    "a latent's way": (EDIT, OWN),
    "a latent's way, with its run": (EDIT, WITH_ITS_RUN),
}

_DICTIONARIES = {"dict", "Dict", "Mapping", "MutableMapping", "defaultdict", "OrderedDict"}
_ANYTHING = {"Any", "object"}


@dataclass(frozen=True)
class Way:
    """How far one way leads: files, functions and classes reached; call sites whose target is in another file, and how
    many of them only the name of a method resolved."""

    files: int
    functions: int
    calls_between_files: int
    by_name_alone: int
    paths: list[str]


@dataclass(frozen=True)
class Structure:
    """All the figures."""

    ways: dict[str, Way]
    dictionaries_of_anything: dict[str, int]  # by file
    equal_file_names: dict[str, list[str]]
    broad_excepts: list[str]
    import_cycles: list[list[str]]
    wrong_arrows: list[str]
    longest_function: tuple[int, str]
    function_lines_median: float
    function_lines_90_percent: float
    lines_by_package: dict[str, int]
    longest_file: tuple[int, str]
    comment_lines_per_100_of_code: float
    tests_monkeypatched: int
    tests_calls_of_private_names: int


def measure() -> Structure:
    """Return the figures of the checkout that this file lies in."""
    package = Package(ROOT, NAME)
    trees = {_shown(module.path): module.tree for module in package.modules.values()}
    lengths = sorted(_lengths(trees))
    texts = {path: (ROOT / path).read_text() for path in trees}
    tests = [ast.parse(path.read_text()) for path in sorted((ROOT / "tests").rglob("*.py"))]
    return Structure(
        ways={name: _way(reach(package, list(entries), stops)) for name, (entries, stops) in WAYS.items()},
        dictionaries_of_anything=dictionaries_of_anything(trees),
        equal_file_names=_equal_names(list(trees)),
        broad_excepts=[f"{path}:{line}" for path, tree in trees.items() for line in broad_excepts(tree)],
        import_cycles=_cycles(),
        wrong_arrows=list(_wrong_arrows()),
        longest_function=lengths[-1],
        function_lines_median=statistics.median(length for length, _ in lengths),
        function_lines_90_percent=statistics.quantiles((length for length, _ in lengths), n=10)[-1],
        lines_by_package=_lines_by_package(texts),
        longest_file=max((text.count("\n"), path) for path, text in texts.items()),
        comment_lines_per_100_of_code=_comments_per_100(list(trees)),
        tests_monkeypatched=sum(_calls_of(tree, "setattr", of="monkeypatch") for tree in tests),
        tests_calls_of_private_names=sum(_private_calls(tree) for tree in tests),
    )


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _way(reached: Reached) -> Way:
    paths = sorted(map(_shown, reached.files))
    return Way(len(paths), len(reached.functions), len(reached.calls), len(reached.by_name), paths)


def _lengths(trees: dict[str, ast.Module]) -> Iterator[tuple[int, str]]:
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield (node.end_lineno or node.lineno) - node.lineno + 1, f"{path}: {node.name}"


def dictionaries_of_anything(trees: dict[str, ast.Module]) -> dict[str, int]:
    """Count `dict[str, Any]`, its like, dictionaries of no stated type, and every use of another name for these."""
    aliases = _other_names(trees)
    counts = {
        path: sum(_is_dictionary(node, aliases[path]) for node in ast.walk(tree))
        + sum(_is_bare(annotation) for annotation in _annotations(tree))
        for path, tree in trees.items()
    }
    return {path: count for path, count in counts.items() if count}


def _other_names(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Return the other names for dictionaries of anything, by file: those that it defines, and those that it imports
    from a file that has them. The same name in another file may mean something else."""
    paths = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in trees}
    names = {
        path: {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name) and _is_type_of_anything(node.value)
        }
        for path, tree in trees.items()
    }
    imports = [
        (path, paths[node.module], each.name, each.asname or each.name)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in paths
        for each in node.names
    ]
    # Until nothing is added: a name may be imported from a file that imports it.
    while missing := [
        (path, name) for path, of, theirs, name in imports if theirs in names[of] and name not in names[path]
    ]:
        for path, name in missing:
            names[path].add(name)
    return names


def _is_type_of_anything(node: ast.expr) -> bool:
    """Return whether the value of an assignment is a type, one that holds a dictionary of anything."""
    is_type = isinstance(node, ast.Subscript) or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr))
    return is_type and any(_is_dictionary(each, set()) for each in ast.walk(node))


def _is_dictionary(node: ast.AST, aliases: set[str]) -> bool:
    if isinstance(node, ast.Name):
        return node.id in aliases and isinstance(node.ctx, ast.Load)
    if not isinstance(node, ast.Subscript) or last_name(node.value) not in _DICTIONARIES:
        return False
    values = node.slice.elts[-1] if isinstance(node.slice, ast.Tuple) else node.slice
    return any(isinstance(each, ast.Name) and each.id in _ANYTHING for each in _alternatives(values))


def _alternatives(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_alternatives(node.left), *_alternatives(node.right)]
    return [node]


def _annotations(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(annotation, ast.expr):
                yield from _alternatives(annotation)


def _is_bare(node: ast.expr) -> bool:
    return isinstance(node, ast.Name | ast.Attribute) and last_name(node) in _DICTIONARIES


def _equal_names(paths: list[str]) -> dict[str, list[str]]:
    by_name: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        by_name[Path(path).name].append(path)
    return {name: where for name, where in sorted(by_name.items()) if len(where) > 1 and name != "__init__.py"}


def broad_excepts(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            types = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            if any(each is None or last_name(each) in ("Exception", "BaseException") for each in types):
                yield node.lineno


def _cycles() -> list[list[str]]:
    """Return the groups of modules that import each other, whichever way round."""
    names = {
        path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in test_layers.modules()
    }
    graph = {name: test_layers.imports(path) & set(names.values()) - {name} for path, name in names.items()}
    beyond = {name: _reachable(graph, name) for name in graph}
    groups = {tuple(sorted(other for other in beyond[name] if name in beyond[other])) for name in graph}
    return [list(group) for group in sorted(groups) if group]


def _reachable(graph: dict[str, set[str]], name: str) -> set[str]:
    found: set[str] = set()
    pending = list(graph[name])
    while pending:
        other = pending.pop()
        if other not in found:
            found.add(other)
            pending += graph[other]
    return found


def _wrong_arrows() -> Iterator[str]:
    """Yield the first wrong arrow of every file that has one."""
    for path in test_layers.modules():
        try:
            test_layers.test_imports_follow_the_arrows(path)
        except AssertionError as error:
            yield f"{_shown(path)}: {str(error).splitlines()[0]}"


def _lines_by_package(texts: dict[str, str]) -> dict[str, int]:
    lines: Counter[str] = Counter()
    for path, text in texts.items():
        parts = Path(path).parts[1:]
        lines[parts[0] if len(parts) > 1 else "(no package)"] += text.count("\n")
    return dict(sorted(lines.items()))


def _comments_per_100(paths: list[str]) -> float:
    """Count the lines that hold only a comment, per 100 lines of code without blank lines, comments and docstrings."""
    comments = code = 0
    for path in paths:
        with (ROOT / path).open("rb") as file:
            tokens = list(tokenize.tokenize(file.readline))
        lines: set[int] = set()
        is_first = True  # of a statement: there a text is a docstring
        alone = 0
        for token in tokens:
            if token.type == tokenize.COMMENT:
                alone += token.line[: token.start[1]].strip() == ""
            elif token.type in (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING):
                is_first = is_first or token.type == tokenize.NEWLINE
            elif token.type != tokenize.ENDMARKER:
                if not (is_first and token.type == tokenize.STRING):
                    lines |= set(range(token.start[0], token.end[0] + 1))
                is_first = False
        comments, code = comments + alone, code + len(lines)
    return round(100 * comments / code, 1)


def _calls_of(tree: ast.Module, name: str, of: str) -> int:
    functions = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    attributes = [each for each in functions if isinstance(each, ast.Attribute) and each.attr == name]
    return sum(isinstance(each.value, ast.Name) and each.value.id == of for each in attributes)


def _private_calls(tree: ast.Module) -> int:
    """Count calls `something._name(...)`, but of `self`, `cls` and modules of the tests' own."""
    count = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name, of = node.func.attr, node.func.value
            is_own = isinstance(of, ast.Name) and of.id in ("self", "cls")
            count += name.startswith("_") and not name.startswith("__") and not is_own
    return count


def lines(found: Structure) -> list[str]:
    """Return the figures as a table in Markdown."""
    rows = [
        (name, f"{way.files} files, {way.calls_between_files} calls between files") for name, way in found.ways.items()
    ]
    dictionaries = found.dictionaries_of_anything
    packages = ", ".join(f"{name} {count}" for name, count in found.lines_by_package.items())
    length, where = found.longest_function
    rows += [
        ("`dict[str, Any]` and its like", f"{sum(dictionaries.values())} in {len(dictionaries)} files"),
        ("file names that occur more than once", f"{len(found.equal_file_names)}: {', '.join(found.equal_file_names)}"),
        ("longest function", f"{length} lines ({where})"),
        (
            "lines of a function, median / 90 %",
            f"{found.function_lines_median:g} / {found.function_lines_90_percent:g}",
        ),
        ("longest file", f"{found.longest_file[0]} lines ({found.longest_file[1]})"),
        ("broad excepts", f"{len(found.broad_excepts)}: {', '.join(found.broad_excepts)}"),
        ("import cycles", f"{len(found.import_cycles)}"),
        ("files with a wrong arrow", f"{len(found.wrong_arrows)}"),
        ("comment lines per 100 of code", f"{found.comment_lines_per_100_of_code}"),
        ("lines", f"{sum(found.lines_by_package.values())}: {packages}"),
        ("tests: `monkeypatch.setattr`", f"{found.tests_monkeypatched}"),
        ("tests: calls of private names", f"{found.tests_calls_of_private_names}"),
    ]
    return ["| what | figure |", "|---|---|", *(f"| {name} | {figure} |" for name, figure in rows)]


def _lists(found: Structure) -> list[str]:
    """Return what stands behind the figures."""
    parts: dict[str, list[str]] = {f"Files on {name}": way.paths for name, way in found.ways.items()}
    dictionaries = sorted(found.dictionaries_of_anything.items(), key=lambda item: -item[1])
    parts["`dict[str, Any]` and its like"] = [f"{count:3} {path}" for path, count in dictionaries]
    parts["Equal file names"] = [f"{name}: {', '.join(where)}" for name, where in found.equal_file_names.items()]
    parts["Import cycles"] = [" ".join(group) for group in found.import_cycles]
    parts["Wrong arrows"] = found.wrong_arrows
    return [line for title, items in parts.items() for line in ("", f"{title}:", *(f"  {item}" for item in items))]


def main() -> None:
    """Print the figures, and what stands behind them where it is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.structure", description="Count the package's structure.")
    parser.add_argument("--files", action="store_true", help="List the files, names and arrows behind the figures.")
    parser.add_argument("--json", metavar="FILE", type=Path, help="Write all of it as JSON; - is standard output.")
    arguments = parser.parse_args()
    found = measure()
    if arguments.json is not None:
        text = json.dumps(asdict(found), indent=1) + "\n"
        sys.stdout.write(text) if str(arguments.json) == "-" else arguments.json.write_text(text)
    if arguments.json is None or str(arguments.json) != "-":
        print("\n".join([*lines(found), *(_lists(found) if arguments.files else [])]))


if __name__ == "__main__":
    main()
