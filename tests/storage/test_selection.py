"""Which images of SOURCE are meant: --sample and --where; widening is an update, narrowing is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2s_batch.api.options import source_options
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.errors import ConfigError, I2SError, QueryError, RunConflictError
from i2s_batch.sources.options import SourceOptions
from i2s_batch.sources.source import list_images
from i2s_batch.table.list_condition import list_condition
from i2s_batch.table.shards import read_table
from tests.material import scene
from tests.runs import embed, rows_written


def drawn(source: Path, count: int, seed: int = 0) -> set[str]:
    return set(list_images(str(source), None, SourceOptions(sample=count, seed=seed)).read()["image_id"].to_pylist())


def test_a_sample_depends_on_the_seed_and_the_ids_alone(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"{number:02d}.png").touch()
    (tmp_path / "list.txt").write_text("".join(f"{number:02d}.png\n" for number in reversed(range(60))))
    small, large = drawn(tmp_path, 10), drawn(tmp_path, 30)
    assert len(small) == 10 and small < large and drawn(tmp_path / "list.txt", 10) == small
    assert drawn(tmp_path, 10, seed=1) != small and len(drawn(tmp_path, 999)) == 61
    gone = min(small)
    (tmp_path / gone).unlink()
    assert small - {gone} < drawn(tmp_path, 10), "only the image that is gone is replaced"


def write_list(folder: Path, count: int = 6) -> Path:
    (folder / "in").mkdir()
    lines = ["path,n,label"]
    for number in range(count):
        scene(number, (24, 24)).save(folder / "in" / f"{number}.png")
        lines.append(f"{number}.png,{number},{'even' if number % 2 == 0 else ''}")
    (folder / "in" / "list.csv").write_text("\n".join(lines))
    return folder / "in" / "list.csv"


def test_a_condition_chooses_by_columns_of_the_list(tmp_path: Path) -> None:
    source = str(write_list(tmp_path))

    def ids(where: str) -> list[str]:
        found = list_images(source, None, SourceOptions(where=where), condition=list_condition(where))
        return found.read()["image_id"].to_pylist()

    assert ids("n >= 4") == ["4.png", "5.png"] and ids("label = 'even' AND image_id <> '0.png'") == ["2.png", "4.png"]
    for where, reason in (
        ("psnr > 22", "psnr.*SOURCE has the columns image_id, uri, n, label"),
        ("n > (SELECT avg(n) FROM images)", "a query of its own"),
        ("n IN (SELECT 1)", "a query of its own"),
        ("getenv('HOME') = ''", "calls 'getenv'"),
        ("1) OR (1 = 1", "not a condition|query of its own"),
        ("", "not a condition"),
        ("true; DROP TABLE images", "2 statements|not a condition"),
        ("exists (FROM read_text('/etc/passwd'))", "query of its own"),
    ):
        with pytest.raises(QueryError, match=reason):
            ids(where)
    with pytest.raises(I2SError, match="none is left"):
        ids("n > 99")


def test_widening_recomputes_nothing_and_narrowing_is_refused(
    tmp_path: Path, generator: Path, vgg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = str(write_list(tmp_path)), str(tmp_path / "out")
    config = EmbedRunConfig(embed=EmbedConfig(steps=1), in_process=True)
    grown = EmbedRunConfig(embed=EmbedConfig(steps=1), in_process=True, grow=True)
    written = rows_written(monkeypatch)

    def run(config: EmbedRunConfig, **chosen: object) -> list[str]:
        written.clear()
        networks = (str(generator), str(vgg))
        embed(EmbedRunRequest(source, out, *networks, config, source_options=SourceOptions(**chosen)))
        return sorted(written)

    first = run(config, where="n >= 3", sample=2)
    assert len(first) == 2 and min(first) >= "3.png"
    assert run(config, where="n >= 3", sample=2) == run(config) == []
    more = run(grown, where="n >= 3", sample=3)
    assert len(more) == 1 and not set(more) & set(first)
    with pytest.raises(RunConflictError, match="--sample 2 is less than the 3 images of this run"):
        run(grown, where="n >= 3", sample=2)
    with pytest.raises(RunConflictError, match=r"'3.png' is an image of this run, and --where leaves it out"):
        run(grown, where="n >= 4")
    assert len(run(grown, sample=4)) == 1 and len(run(grown, sample=4)) == 0, "never more than the sample"
    assert len(run(grown)) == 2 and len(read_table(out)) == 6


def test_options_that_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="limit is 3 and sample is 2; give one of them"):
        source_options({"limit": 3}, 2)
    with pytest.raises(ConfigError, match="sample is 0; it must be at least 1"):
        source_options({}, 0)
