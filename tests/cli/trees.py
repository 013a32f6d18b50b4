"""Random trees of files, folders, links and runs of ours, and random commands on them."""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.material import scene

FOLDERS = ("data", "out", "work", "latents", "pictures", "photos", "manifest", "rows", "deep one", "inputs", "figures")
# Names that a run uses, names that are nearly so, and others.
NAMES = (
    *("report.html", "summary.json", "contact-sheet.png", "study.md", "lease.json", "deaths.json", "images.parquet"),
    *("00000000.arrow", "00000001.npz", "shard-00000.parquet", "shard-00000.json", f".i2s-tmp-{'0' * 32}"),
    *(".i2s-tmp-mine", "shard-0.parquet", "1.arrow", "thesis.tex", ".hidden", ".DS_Store", "run.json.bak", "notes.txt"),
    *(f"probe-{'0' * 32}", "no-suffix", "face-1.png", "init.png", "name with spaces.txt", "ünïcode.txt", "run.json"),
)
IMAGES = ("a.png", "b.png", "0.png", "kitten.png")
# Names of files that the user may put beside a run: none that the run itself uses.
BESIDE = ("thesis.tex", "1.arrow", ".i2s-tmp-mine", "notes.txt", "shard-0.parquet", "run.json.bak", "x.csv")
FILES = ("x.csv", "x.json", "x.parquet", "x.npy", "x.npz", "x.pt", "x.safetensors", "x.png")

Entry = tuple[str, int, bytes]  # kind, mode, content


def snapshot(root: Path) -> dict[str, Entry]:
    """Everything below `root` but folders, without following a link."""
    found = {}
    for folder, folders, names in os.walk(root):
        for name in [*names, *(name for name in folders if Path(folder, name).is_symlink())]:
            path = Path(folder, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                found[str(path)] = ("file", stat.S_IMODE(mode), path.read_bytes())
            elif stat.S_ISLNK(mode):
                found[str(path)] = ("link", 0, os.fsencode(path.readlink()))
            else:
                found[str(path)] = ("other", stat.S_IFMT(mode), b"")
    return found


@dataclass
class Templates:
    """Runs to be planted, by kind; what they were made from; the networks."""

    runs: dict[str, Path]
    source: Path
    generator: Path
    vgg: Path


@dataclass
class Tree:
    """A tree: `owned` are the files of the runs in it, `runs` where these are."""

    root: Path
    folders: list[Path]
    owned: set[str] = field(default_factory=set)
    runs: list[Path] = field(default_factory=list)


def make_tree(root: Path, templates: Templates, stream: random.Random) -> Tree:
    """Draw a tree."""
    tree = Tree(root, [root])
    root.mkdir()
    for _ in range(stream.randrange(2, 7)):
        folder = stream.choice(tree.folders) / stream.choice(FOLDERS)
        folder.mkdir(exist_ok=True)
        tree.folders.append(folder)
    for _ in range(stream.choice((0, 1, 1, 2))):
        _plant(tree, templates, stream)
    for _ in range(stream.randrange(2, 14)):
        _put_file(tree, stream)
    for _ in range(stream.choice((0, 0, 1, 2, 3))):
        _put_link(tree, stream)
    return tree


def _plant(tree: Tree, templates: Templates, stream: random.Random) -> None:
    """Copy a run of ours into a new folder, or into one that is empty."""
    place = stream.choice(tree.folders) / stream.choice(("run", "out", "table"))
    if place.exists() and any(place.iterdir()):
        return
    shutil.copytree(templates.runs[stream.choice(list(templates.runs))], place, dirs_exist_ok=True)
    tree.owned |= set(snapshot(place))
    tree.runs.append(place)
    tree.folders += [place, *(path for path in place.rglob("*") if path.is_dir())]


def _in_run(tree: Tree, folder: Path) -> bool:
    return any(folder == run or run in folder.parents for run in tree.runs)


def _put_file(tree: Tree, stream: random.Random) -> None:
    folder = stream.choice(tree.folders)
    path = folder / stream.choice(BESIDE if _in_run(tree, folder) else (*NAMES, *IMAGES, *FILES))
    if path.exists() or path.is_symlink():
        return
    if path.suffix == ".png" and stream.random() < 0.8:
        scene(stream.randrange(100), (20, 20)).save(path)
    else:
        path.write_bytes(stream.randbytes(stream.choice((0, 1, 50))))
    path.chmod(stream.choice((0o644, 0o600, 0o755, 0o664)))


def _put_link(tree: Tree, stream: random.Random) -> None:
    folder = stream.choice([folder for folder in tree.folders if not _in_run(tree, folder)])
    path = folder / stream.choice(("link", "link.png", "work", "latents", "x.csv", "report.html", "photos"))
    if path.exists() or path.is_symlink():
        return
    everything = sorted(tree.root.rglob("*"))
    target = stream.choice([*everything, tree.root, tree.root / "nowhere"])
    path.symlink_to(target if stream.random() < 0.5 else os.path.relpath(target, folder))


@dataclass
class Command:
    """What is run; where it may write: below `out`, or the file that `file` leads to."""

    words: list[str]
    out: Path | None = None
    file: Path | None = None


def make_command(tree: Tree, templates: Templates, stream: random.Random) -> Command:
    """Draw a command on a tree; often one that ought to be refused."""
    out, file = _a_folder(tree, stream), _a_file(tree, stream)
    table = stream.choice([*map(str, tree.runs), _a_folder(tree, stream)])
    source = stream.choice((str(templates.source), _a_folder(tree, stream), _a_source(tree, stream)))
    networks = ["--generator", str(templates.generator), "--vgg", str(templates.vgg), "--steps", "1", "--device", "cpu"]
    few = ["--shard-size", "2", "--max-failed-fraction", "1"]
    kinds = ["embed"] * 6 + [
        "edit",
        "render",
        "merge",
        "report",
        "study",
        "query",
        "export",
        "convert",
        "sheet",
        "read",
    ]
    kind = stream.choice(kinds)
    if kind == "embed":
        if tree.runs and stream.random() < 0.4:
            source, out = str(templates.source), str(stream.choice(tree.runs))
        update = ["--update"] if stream.random() < 0.3 else []
        return Command(["embed", source, out, *networks, *few, *update], Path(out))
    if kind == "study":
        return Command(["study", "space", source, out, "--sample", "1", *networks, *few], Path(out))
    if kind in ("edit", "render"):
        words = ["edit", "morph", "--chain", "--frames", "2"] if kind == "edit" else ["render"]
        generator = ["--generator", str(templates.generator)] if stream.random() < 0.5 else []
        return Command([*words, table, out, "--device", "cpu", "--actors", "1", *generator], Path(out))
    if kind == "merge":
        other = stream.choice([*map(str, tree.runs), table])
        return Command(["merge", table, other, out], Path(out))
    if kind == "report":
        return Command(["report", table], Path(table))
    if kind == "query":
        options = [] if file.endswith((".csv", ".json", ".parquet")) else ["--format", "csv"]
        return Command(["query", table, "SELECT image_id FROM latents", "-o", file, *options], file=Path(file))
    if kind == "export":
        return Command(["export", table, file], file=Path(file))
    if kind == "convert":
        return Command(["convert", str(templates.generator), file], file=Path(file))
    if kind == "sheet":
        return Command(["neighbours", table, "0.png", "--sheet", file], file=Path(file))
    return Command([stream.choice(("status", "verify")), table])


def _spelt(path: Path, tree: Tree, stream: random.Random) -> str:
    """A path as people write it: relative, with a detour, with a slash at its end."""
    text = str(path)
    if stream.random() < 0.4:
        text = os.path.relpath(path, tree.root)  # the tree is the working directory
    if stream.random() < 0.2 and path.is_dir():
        text = f"{text}/../{path.name}" if path != tree.root and not path.is_symlink() else f"{text}/."
    return text + ("/" if stream.random() < 0.2 else "")


def _a_folder(tree: Tree, stream: random.Random) -> str:
    links = [path for path in tree.root.rglob("*") if path.is_symlink()]
    folder = stream.choice([*tree.folders, *links])
    if stream.random() < 0.4:
        folder = folder / stream.choice((*FOLDERS, "new", "new/deeper"))
    return _spelt(folder, tree, stream)


def _a_source(tree: Tree, stream: random.Random) -> str:
    images = sorted(path for path in tree.root.rglob("*.png") if path.is_file())
    choices = [f"{stream.choice(tree.folders)}/*.png", f"{stream.choice(tree.folders)}/**"]
    return stream.choice([*choices, *map(str, images[:1])])


def _a_file(tree: Tree, stream: random.Random) -> str:
    here = sorted(path for path in tree.root.rglob("*") if not path.is_dir())
    anywhere = stream.choice(tree.folders) / stream.choice(FILES)
    return str(stream.choice([anywhere, anywhere, *stream.sample(here, min(2, len(here)))])).rstrip("/")


def changes(before: dict[str, Entry], after: dict[str, Entry]) -> Iterator[str]:
    """The paths that are gone or have changed."""
    return (path for path, entry in before.items() if after.get(path) != entry)
