"""Whatever commands are given on whatever trees: every file that was there before is there after, byte for byte.

Exceptions are what belongs to a run of ours, and the one file that a command was told to write. `--trees 1000` takes
some minutes.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from i2s_batch.config import EditConfig, EmbedConfig, EmbedRunConfig
from i2s_batch.editing import Render
from i2s_batch.editing.edit_run import EditRun, EditRunRequest
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.errors import InternalError
from i2s_batch.models.loading import generator_weights
from i2s_batch.output.work_log import WorkLog
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.storage import Store, open_store
from i2s_batch.storage.files import is_temporary
from tests.cli.trees import Command, Templates, Tree, changes, make_command, make_tree, snapshot
from tests.material import scene
from tests.program import status_of
from tests.runs import embed


class StopError(Exception):
    """Stops a run in the middle."""


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory, generator: Path, vgg: Path) -> Templates:
    """A finished run, one that was stopped half-way, and an edit."""
    folder = tmp_path_factory.mktemp("templates")
    source = folder / "in"
    source.mkdir()
    for number in range(3):
        scene(number, (20, 20)).save(source / f"{number}.png")
    config = EmbedRunConfig(embed=EmbedConfig(steps=1), device="cpu", batch_size=4, shard_size=2, max_failed_fraction=1)
    names = ("finished", "half", "edit")
    runs = {name: folder / name for name in names}

    def job(name: str) -> EmbedRunRequest:
        return EmbedRunRequest(str(source), str(runs[name]), str(generator), str(vgg), config)

    embed(job("finished"))
    original, written = WorkLog.write_rows, []

    def stop(self: WorkLog, task: Any, rows: Any) -> Any:
        if written:
            raise StopError
        written.append(task)
        return original(self, task, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WorkLog, "write_rows", stop)
        with pytest.raises(InternalError, match="StopError"):
            embed(job("half"))
    request = EditRunRequest(
        (str(runs["finished"]),), str(runs["edit"]), str(generator), Render(), EditConfig(device="cpu")
    )
    EditRun(request, generator_weights(str(generator)), lambda line: None).execute(InProcessCluster())
    return Templates(runs, source, generator, vgg)


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2s_batch.api.sessions.ray_cluster", InProcessCluster)
    monkeypatch.setattr("i2s_batch.demo.run.STEPS", 1)


def check(tree: Tree, command: Command, status: int, before: dict, after: dict) -> None:
    """What a command may have changed, it may; everything else is as it was."""
    what = f"{command.words} in {tree.root}, status {status}"
    assert status in (0, 1, 2), what
    written = str(Path(os.path.realpath(command.file))) if command.file is not None and status == 0 else None
    for path in changes(before, after):
        # A name with 32 random digits of ours is enough to be a half-written file of ours.
        ours = path in tree.owned or is_temporary(Path(path).name)
        assert ours or path == written, f"{path} was destroyed by {what}"
        assert Path(path).name != "run.json", f"{path} was changed by {what}"
        assert written is None or after[path][1] == before[path][1], f"the mode of {path} was changed by {what}"
    out = None if command.out is None else os.path.realpath(command.out)
    for path in after.keys() - before.keys():
        assert path == written or (out is not None and path.startswith(f"{out}/")), f"{path} was made by {what}"
        assert status == 2 or not is_temporary(Path(path).name), f"{path} was left behind by {what}"


def try_tree(root: Path, templates: Templates, seed: int) -> list[int]:
    """Run some commands on a random tree; their statuses."""
    stream = random.Random(seed)
    tree = make_tree(root, templates, stream)
    os.chdir(root)
    statuses = []
    for _ in range(stream.choice((1, 2, 3))):
        command = make_command(tree, templates, stream)
        for _ in range(stream.choice((1, 1, 2))):  # again: to resume what is there
            before = snapshot(root)
            statuses.append(status_of(*command.words))
            after = snapshot(root)
            check(tree, command, statuses[-1], before, after)
            if command.out is not None and statuses[-1] != 2:
                tree.owned |= after.keys() - before.keys()  # a new run is ours
    return statuses


@pytest.mark.usefixtures("without_ray")
def test_random_commands_on_random_trees(
    tmp_path: Path,
    templates: Templates,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    statuses: list[int] = []
    for seed in range(request.config.getoption("--trees")):
        statuses += try_tree(tmp_path / f"tree-{seed}", templates, seed)
        capsys.readouterr()  # what thousands of commands said helps nobody
    assert statuses.count(0) > len(statuses) / 10 and statuses.count(2) > len(statuses) / 10, "both happen"


DEMO = {
    "pictures/mine.png": b"mine",
    "pictures/face-1.png": b"mine",
    "contact-sheet.png": b"mine",
    "notes.txt": b"mine",
}
DEMO |= {"embedded/work/thesis.tex": b"mine", "morphs/report.html": b"mine", "styles/run.json": b"{}"}


@pytest.mark.usefixtures("without_ray")
def test_the_demo_takes_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("write_report", "write_edit_sheet"):  # which take long, and are tested elsewhere
        monkeypatch.setattr(f"i2s_batch.demo.run.{name}", lambda *arguments, **options: "")
    for key, content in DEMO.items():
        out = tmp_path / key.replace("/", "-")
        open_store(str(out)).put(key, content)
        assert status_of("demo", out) == 2
        assert [path for path in out.rglob("*") if path.is_file()] == [out / key] and (
            out / key
        ).read_bytes() == content
    out = tmp_path / "free"
    assert status_of("demo", out) == 0
    theirs = {"pictures/mine.png": b"mine", "notes.txt": b"mine", "embedded/work/thesis.tex": b"mine"}
    open_store(str(out)).put_all(theirs)
    assert status_of("demo", out) == 0, "it may be run again"
    assert {key: (out / key).read_bytes() for key in theirs} == theirs
    (out / "pictures" / "face-1.png").write_bytes(b"mine")
    assert status_of("demo", out) == 2 and (out / "pictures" / "face-1.png").read_bytes() == b"mine"


def contents(store: Store) -> dict[str, bytes]:
    return {info.key: store.get(info.key) for info in store.list()}


@pytest.mark.usefixtures("without_ray")
def test_random_commands_on_random_buckets(
    s3_bucket: str, templates: Templates, request: pytest.FixtureRequest
) -> None:
    """As above, with objects: a bucket holds what somebody keeps, and runs of ours."""
    bucket, stream = open_store(f"s3://{s3_bucket}"), random.Random(0)
    statuses = []
    for number in range(max(3, request.config.getoption("--trees") // 20)):
        base = f"case-{number}/" if number else ""
        prefixes = ["", "out/", "data/", "out/work/", "data/out/"]
        theirs = {base + stream.choice(prefixes) + name: stream.randbytes(9) for name in stream.sample(OBJECTS, 4)}
        run = base + stream.choice(prefixes) + "run/"
        planted = {
            run + path.relative_to(templates.runs["half"]).as_posix(): path.read_bytes()
            for path in templates.runs["half"].rglob("*")
            if path.is_file()
        }
        bucket.put_all(theirs | planted)
        networks = ["--generator", str(templates.generator), "--vgg", str(templates.vgg), "--device", "cpu"]
        networks += ["--steps", "1", "--shard-size", "2", "--max-failed-fraction", "1"]
        out = f"s3://{s3_bucket}/{base}{stream.choice(prefixes)}".rstrip("/")
        table = f"s3://{s3_bucket}/{run}"
        for words in (
            ["embed", str(templates.source), stream.choice((out, f"{out}/", f"{out}/new")), *networks],
            ["embed", f"s3://{s3_bucket}/{base}data", out, *networks],
            ["embed", str(templates.source), table, *networks],
            ["render", table, out, "--device", "cpu"],
            ["merge", table, table, out],
            ["report", stream.choice((table, out))],
        ):
            statuses.append(status_of(*words))
            after = contents(bucket)
            assert {key: after.get(key) for key in theirs} == theirs, words
            assert after[f"{run}run.json"] == planted[f"{run}run.json"], words
    assert statuses.count(0) > len(statuses) / 10 and statuses.count(2) > len(statuses) / 10, "both happen"


OBJECTS = [
    "work/thesis.tex",
    "work/rows/00000/x.arrow",
    "report.html",
    "a.png",
    "summary.json",
    "notes.txt",
    "work/lease",
]
OBJECTS += ["latents/mine.txt", "pictures/0.png", "deaths.json", "manifest/images.parquet.bak", "contact-sheet.png"]
