"""A mistake does not use up OUT, cheap checks come first, and a finished run names what SOURCE has gained."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from i2s_batch.config import EditConfig, EmbedConfig, EmbedRunConfig
from i2s_batch.editing import Expression, ListedEdit, Morph, Reenact, Render, Style
from i2s_batch.editing.edit_run import EditRun, EditRunRequest, look_first
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.errors import LatentError, QueryError, RunConflictError, SourceError, StorageError, UnknownImageError
from i2s_batch.models.loading import generator_weights
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.overwriting import clear_run, is_unbegun
from i2s_batch.output.ownership import find_record
from i2s_batch.output.plan import Plan
from i2s_batch.output.run_record import RunRecord
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.run.status import read_status
from i2s_batch.run.taking import take_place
from i2s_batch.sources.options import SourceOptions
from i2s_batch.storage import Store, open_store
from i2s_batch.studies.study_config import StudyConfig
from i2s_batch.studies.study_run import StudyRun, StudyRunRequest
from i2s_batch.table.arrays import read_latents
from i2s_batch.table.selection import chosen_ids
from i2s_batch.table.shards import read_table
from tests.material import scene
from tests.runs import embed, job_over

ONE_STEP = EmbedRunConfig(embed=EmbedConfig(steps=1), batch_size=4, shard_size=2)
TWO_STEPS = replace(ONE_STEP, embed=EmbedConfig(steps=2))


@pytest.fixture
def job(tmp_path: Path, generator: Path, vgg: Path) -> EmbedRunRequest:
    return job_over(tmp_path, ["01.png", "02.png", "03.png"], generator, vgg, ONE_STEP)


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.slow)])
def anywhere(request: pytest.FixtureRequest, job: EmbedRunRequest) -> EmbedRunRequest:
    """The job with its output on this machine, or on S3."""
    if request.param == "local":
        return job
    return replace(job, out=f"s3://{request.getfixturevalue('s3_bucket')}/out")


def contents(store: Store) -> dict[str, bytes]:
    return {key: store.get(key) for key in store.everything()}


def edited(job: EmbedRunRequest, out: str, request: object, config: EditConfig | None = None) -> EditRun:
    asked = EditRunRequest((job.out,), out, job.generator, request, config or EditConfig(device="cpu"))
    run = EditRun(asked, generator_weights(job.generator), [].append)
    run.execute(InProcessCluster())
    return run


def steps(out: str) -> set[int]:
    return set(read_table(out, ["image_id", "steps"])["steps"].to_pylist())


# An OUT in which no image was begun


def test_a_run_that_never_began_gives_its_out_to_another(anywhere: EmbedRunRequest) -> None:
    EmbedRun(anywhere, [].append).begin()
    store, said = open_store(anywhere.out), list[str]()
    before = find_record(store)
    other = Path(anywhere.source).parent / "other"
    other.mkdir()
    scene(7, (40, 40)).save(other / "07.png")
    store.put("notes.txt", b"mine")
    embed(replace(anywhere, source=str(other), config=TWO_STEPS), said=said)
    assert said[0] == f"the run in {store.url} had no image begun and is replaced"
    assert read_table(anywhere.out)["image_id"].to_pylist() == ["07.png"] and steps(anywhere.out) == {2}
    record = find_record(store)
    assert before is not None and record is not None and record.source == str(other)
    assert store.get("notes.txt") == b"mine"


def test_one_that_began_is_refused_with_the_names_of_options(job: EmbedRunRequest) -> None:
    EmbedRun(job, [].append).begin()
    open_store(job.out).put(RunLayout.checkpoint(0), b"of weeks")
    before = contents(open_store(job.out))
    early = EmbedConfig(steps=2, stop_plateau=5.0, learning_rate=0.5)
    with pytest.raises(RunConflictError) as refused:
        embed(replace(job, config=replace(ONE_STEP, embed=early)))
    message = str(refused.value)
    for part in ("--steps is 1 there, 2 was asked", "--early-stopping is none there, 5.0 was asked",
                 "the learning rate is 0.01 there", "use another OUT, or --overwrite to replace that run"):  # fmt: skip
        assert part in message
    assert "settings." not in message and "stop_plateau" not in message
    assert contents(open_store(job.out)) == before


def killed_while_it_took_the_place(job: EmbedRunRequest, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """End a driver before its write or deletion number `step` while it takes an OUT over."""

    class KilledError(Exception):
        pass

    left = iter(range(step))

    def dying(original: Callable[..., object]) -> Callable[..., object]:
        def method(self: Store, *arguments: object) -> object:
            if next(left, None) is None:
                raise KilledError
            return original(self, *arguments)

        return method

    kind = type(open_store(job.out))
    with monkeypatch.context() as patch:
        for name in ("put", "put_file", "delete"):
            patch.setattr(kind, name, dying(getattr(kind, name)))
        with pytest.raises(KilledError):
            EmbedRun(replace(job, config=TWO_STEPS), [].append).begin()


@pytest.mark.parametrize("step", range(4))
def test_a_driver_killed_while_it_takes_an_out_over(
    job: EmbedRunRequest, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it had done: both commands find an OUT that they can take, and each embeds its own images."""
    EmbedRun(job, [].append).begin()
    open_store(job.out).put("notes.txt", b"mine")
    scene(9, (40, 40)).save(Path(job.source) / "09.png")
    killed_while_it_took_the_place(job, step, monkeypatch)
    embed(replace(job, config=TWO_STEPS))
    assert len(read_table(job.out)) == 4 and steps(job.out) == {2}
    assert open_store(job.out).get("notes.txt") == b"mine"


def test_the_command_of_a_run_that_never_began_is_that_of_today(job: EmbedRunRequest) -> None:
    table, out = job.out, f"{job.out}-edit"
    embed(job)
    for command in (("render", "with", "--device", "cuda"), ("render", "--device", "cpu")):
        asked = EditRunRequest((table,), out, job.generator, Render(), EditConfig(device="cpu"), command=command)
        EditRun(asked, generator_weights(job.generator), [].append).begin()
        assert json.loads(Path(out, "run.json").read_text())["command"] == list(command)
    edited(job, out, Render())
    assert json.loads(Path(out, "run.json").read_text())["command"] is None, "as Python has it, before any image"
    EditRun(asked, generator_weights(job.generator), [].append).execute(InProcessCluster())
    assert json.loads(Path(out, "run.json").read_text())["command"] is None, "a run that began keeps its record"


# Overwriting


def test_overwriting_deletes_what_the_run_wrote_and_nothing_else(anywhere: EmbedRunRequest) -> None:
    embed(anywhere)
    store = open_store(f"{anywhere.out}-edit")
    morphs = Morph((0.0, 0.5, 1.0), "all-pairs")
    edited(anywhere, store.url, morphs, EditConfig(device="cpu", animation="gif"))
    theirs = {"notes.txt": b"mine", "pictures/mine.png": b"mine", "latents/mine.txt": b"mine"}
    theirs |= {"animations/mine.gif": b"mine", "work/thesis.tex": b"mine", "manifest/mine.parquet": b"mine"}
    store.put_all(theirs)
    images = [key for key in store.everything() if key.startswith(("pictures/", "animations/")) and key not in theirs]
    assert len(images) == 12
    config = EditConfig(device="cpu", picture_format="webp", overwrite=True)
    run = edited(anywhere, store.url, Render(), config)
    after = contents(store)
    assert {key: after[key] for key in theirs} == theirs
    left = {key for key in after if key.startswith(("pictures/", "animations/"))} - theirs.keys()
    assert len(left) == 3 and all(key.endswith(".webp") for key in left) and not left & set(images)
    assert len(read_table(store.url)) == 3 and run.overwritten() is None
    assert find_record(store).settings.operation == "render"  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["pictures/01.png", "side-by-side/01.png", "contact-sheet.png"])
def test_a_run_does_not_write_over_files_of_others_where_it_replaces_one(job: EmbedRunRequest, name: str) -> None:
    embed(job)
    out = f"{job.out}-2"
    embed(replace(job, out=out))
    store = open_store(out)
    store.put(name, b"mine")
    before = contents(store)
    with pytest.raises(RunConflictError, match=f"{name}' would be written over, and the run in .* has not written it"):
        edited(job, out, Render(), EditConfig(device="cpu", overwrite=True))
    assert {key: data for key, data in contents(store).items() if not key.startswith("work/")} == before


def test_a_sheet_or_page_that_an_embedding_run_has_not_written_stays(job: EmbedRunRequest) -> None:
    embed(job)
    store = open_store(job.out)
    theirs = {"contact-sheet.png": b"mine", "study.md": b"mine", "report/index.html": b"mine"}
    theirs |= {"pictures/01.png.png": b"mine", "inputs/01.png.png": b"mine"}
    store.put_all(theirs)
    embed(replace(job, config=replace(TWO_STEPS, overwrite=True)))
    assert theirs.items() <= contents(store).items()


def test_a_replaced_run_that_was_killed_says_nothing_of_the_new_one(job: EmbedRunRequest) -> None:
    embed(job)
    store = open_store(job.out)
    store.put(RunLayout.deaths, b'{"0": 1}')
    weights = replace(job, config=replace(TWO_STEPS, overwrite=True))
    run, resumed = EmbedRun(weights, [].append), EmbedRun(job, [].append)
    run.plan(), resumed.plan()
    assert resumed.was_killed() and not run.was_killed()


def test_after_a_kill_while_a_run_is_deleted_status_has_the_command_that_deletes_it(job: EmbedRunRequest) -> None:
    embed(job)
    before, store = read_status(job.out, [].append).command, open_store(job.out)
    old = RunRecord.decode(store.get(RunLayout.run_json), job.out)
    new = replace(job, out=f"{job.out}2", config=TWO_STEPS)
    EmbedRun(new, [].append).begin()
    confirmations = iter((None,))
    with pytest.raises(StopIteration):  # in place of a kill after the first
        take_place(store, old, find_record(open_store(new.out)) or old, True, lambda: next(confirmations))
    after = read_status(job.out, [].append).command
    assert after == f"{before} --overwrite".replace("--steps 1", "--steps 2")
    embed(replace(new, out=job.out, config=replace(TWO_STEPS, overwrite=True)))
    finished = read_status(job.out, [].append)
    assert finished.finished and finished.command == after.removesuffix(" --overwrite")


def test_what_is_overwritten_is_said_and_a_dry_run_writes_nothing(job: EmbedRunRequest) -> None:
    embed(job)
    before = contents(open_store(job.out))
    run = EmbedRun(replace(job, config=replace(TWO_STEPS, overwrite=True)), [].append)
    what = run.describe()
    assert (what.images_to_do, what.resumed) == (3, False)
    text = run.overwritten()
    assert text is not None and f"{job.out} holds a run over {job.source}, begun 20" in text
    assert text.endswith("with 3 of 3 images done")
    assert contents(open_store(job.out)) == before


def test_overwriting_a_study_makes_its_inputs_again(job: EmbedRunRequest) -> None:
    def study(out: str, seed: int, overwrite: bool) -> None:
        config = StudyConfig(study="defects", sample=1, embed=EmbedConfig(steps=1, seed=seed), overwrite=overwrite)
        StudyRun(StudyRunRequest(job.source, out, job.generator, job.vgg, config), [].append).execute(
            InProcessCluster()
        )

    study(job.out, 1, False)
    study(f"{job.out}-new", 2, False)
    study(job.out, 2, True)
    inputs = [
        {key: data for key, data in contents(open_store(out)).items() if key.startswith("inputs/")}
        for out in (job.out, f"{job.out}-new")
    ]
    assert inputs[0] and inputs[0] == inputs[1]


def test_a_plan_cannot_name_files_outside_of_out(job: EmbedRunRequest, tmp_path: Path) -> None:
    embed(job)
    out = tmp_path / "edit"
    edited(job, str(out), Render())
    store = open_store(str(out))
    plan = Plan.load(store, 1000)
    rows = plan.images.read()
    uris = [f"{store.url}/pictures/../../precious.txt"] * len(rows)
    column = rows.schema.get_field_index("uri")
    replace(plan, images=rows.set_column(column, rows.schema.field(column), [uris])).save(store)
    (tmp_path / "precious.txt").write_text("mine")
    clear_run(store, find_record(store), lambda: None)  # type: ignore[arg-type]
    assert (tmp_path / "precious.txt").read_text() == "mine" and is_unbegun(store)


def test_a_table_is_never_overwritten_by_its_own_edit(job: EmbedRunRequest, tmp_path: Path) -> None:
    embed(job)
    (tmp_path / "link").symlink_to(job.out)
    before = contents(open_store(job.out))
    for out in (job.out, str(tmp_path / "link")):
        with pytest.raises(RunConflictError, match="is both a table and OUT"):
            look_first(EditRunRequest((job.out,), out, job.generator, Render(), EditConfig(overwrite=True)), [].append)
    assert contents(open_store(job.out)) == before


# Cheap checks first


def test_source_and_out_are_looked_at_before_the_networks(job: EmbedRunRequest, tmp_path: Path) -> None:
    blind = replace(job, generator="nowhere.pkl", vgg="nowhere.pth")
    with pytest.raises(SourceError, match="'missing' does not exist"):
        EmbedRun(replace(blind, source="missing"), [].append)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(RunConflictError, match=r"thesis\.tex"):
        EmbedRun(blind, [].append)
    (tmp_path / "out" / "thesis.tex").unlink()
    embed(job)
    with pytest.raises(RunConflictError, match="--steps is 1 there, 2 was asked"):
        EmbedRun(replace(blind, config=TWO_STEPS), [].append)
    study = StudyConfig(study="init", sample=1, classes="sort", embed=EmbedConfig(steps=1))
    with pytest.raises(Exception, match="has no column 'sort' for --class-column"):
        StudyRun(StudyRunRequest(job.source, "new", "nowhere.pkl", "nowhere.pth", study), [].append)


UNKNOWN = [
    (Morph(to="1.png"), {}, "--to: '1.png' is not in OUT"),
    (Morph(to="sub/02.PNG"), {}, "--to: 'sub/02.PNG' is not in OUT; did you mean '02.png'?"),
    (Style(to="02.jpg"), {}, "--to: '02.jpg' is not in OUT; did you mean '02.png'?"),
    (Expression((1.0,), "01.png", "x"), {}, "--expressive: 'x' is not in OUT, whose ids are such as"),
    (Expression((1.0,), "y", "01.png"), {}, "--neutral: 'y' is not in OUT"),
    (Reenact("03"), {}, "--target: '03' is not in OUT; did you mean '03.png'?"),
    (Render(), {"ids": ("01.png", "4.png", "5.png")}, "--ids: '4.png' is not in OUT; did you mean"),
    (Morph((0.5,), listed=(ListedEdit(("a", "b")), ListedEdit(("c", "d")))), {}, "none of the images of the edit list"),
]


@pytest.mark.parametrize(("request_", "options", "message"), UNKNOWN)
def test_an_id_that_no_table_has_is_refused_at_once(
    job: EmbedRunRequest, request_: object, options: dict[str, object], message: str, tmp_path: Path
) -> None:
    embed(job)
    asked = EditRunRequest((job.out,), str(tmp_path / "edit"), "nowhere.pkl", request_, EditConfig(), **options)
    with pytest.raises(UnknownImageError) as refused:
        look_first(asked, [].append)
    assert message in str(refused.value).replace(job.out, "OUT") and "\n" not in str(refused.value)
    assert not (tmp_path / "edit").exists()


def test_an_image_without_a_latent_and_a_condition_that_is_none(job: EmbedRunRequest, tmp_path: Path) -> None:
    (Path(job.source) / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    embed(job)
    asked = EditRunRequest((job.out,), str(tmp_path / "edit"), "nowhere.pkl", Morph(to="bad.png"), EditConfig())
    with pytest.raises(LatentError, match=r"--to: 'bad\.png' has no latent, its status is 'unreadable'"):
        look_first(asked, [].append)
    with pytest.raises(QueryError, match="is not a condition in SQL"):
        look_first(replace(asked, request=Render(), where="psnr("), [].append)
    with pytest.raises(StorageError, match="nowhere' does not exist"):
        look_first(replace(asked, latents=(str(tmp_path / "nowhere"),)), [].append)


def test_blanks_around_an_id_are_no_part_of_it_unless_they_are(job: EmbedRunRequest, tmp_path: Path) -> None:
    scene(4, (40, 40)).save(Path(job.source) / " 01.png")
    embed(job)
    asked = EditRunRequest((job.out,), str(tmp_path / "edit"), "nowhere.pkl", Render(), EditConfig())
    selection = look_first(replace(asked, ids=(" 01.png", "01.png ", "\t02.png")), [].append)
    assert selection is not None and selection.chosen == [" 01.png", "01.png", "02.png"]


# What SOURCE has gained


def test_a_finished_run_names_new_images(job: EmbedRunRequest) -> None:
    embed(replace(job, source_options=SourceOptions(include=("0[12].png",))))

    def named(**options: object) -> list[str]:
        said: list[str] = []
        asked = replace(job, **options)
        EmbedRun(asked, said.append).describe()
        embed(asked, said=said)
        return [line for line in said if "SOURCE" in line]

    narrow = SourceOptions(include=("0[12].png",))
    assert named(source_options=narrow) == []
    assert named() == ["1 new image in SOURCE; add --update to embed it"] * 2, "a wider choice"
    scene(8, (40, 40)).save(Path(job.source) / "08.png")
    assert named() == ["2 new images in SOURCE; add --update to embed them"] * 2
    assert named(source_options=SourceOptions(limit=3)) == ["1 new image in SOURCE; add --update to embed it"] * 2
    assert len(read_table(job.out)) == 2
    embed(replace(job, config=replace(ONE_STEP, grow=True)))
    assert named() == [] and len(read_table(job.out)) == 4


def test_a_finished_run_whose_source_is_gone_is_still_finished(job: EmbedRunRequest) -> None:
    embed(job)
    Path(job.source).rename(f"{job.source}-away")
    said: list[str] = []
    assert embed(job, said=said).summary.finished
    assert len(said) == 1 and said[0].startswith("SOURCE was not searched for new images (")


def test_a_condition_is_checked_once(job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    embed(job)
    checked: list[str] = []
    monkeypatch.setattr("i2s_batch.table.selection.check_condition", checked.append)
    assert chosen_ids(job.out, "steps = 1") == ["01.png", "02.png", "03.png"] and checked == ["steps = 1"]
    read_latents(job.out, where="steps = 1")
    assert checked == ["steps = 1"] * 2
