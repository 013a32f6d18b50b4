"""The report of real runs: what it says, what it escapes, and how a browser takes it."""

from __future__ import annotations

import datetime
import itertools
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from i2s_batch.api.reports import write_report
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.errors import RunConflictError
from i2s_batch.images.draw import difference
from i2s_batch.models import random_generator, write_safetensors
from i2s_batch.models.loading import generator_weights
from i2s_batch.output.layout import RunLayout
from i2s_batch.reporting import charts, facts
from i2s_batch.schema.codec import encode_shard, table_schema
from i2s_batch.schema.metadata import shard_metadata
from i2s_batch.storage import open_store
from tests.material import scene
from tests.program import here, i2s_batch, refusal
from tests.runs import embed

HOSTILE = "<script>alert(1)<&'\">.png"
PICTURES = 5


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, generator: Path, vgg: Path) -> Path:
    """A run over five pictures and a file that is none, with names that want to be markup."""
    root = tmp_path_factory.mktemp("report")
    pictures = root / "pictures"
    pictures.mkdir()
    for number in range(PICTURES - 1):
        scene(number, (40, 40)).save(pictures / f"{number}.png")
    scene(9, (40, 40)).save(pictures / HOSTILE.replace("/", ""))
    (pictures / "<b>broken.jpg").write_bytes(b"<html><b>no picture")
    config = EmbedRunConfig(embed=EmbedConfig(steps=6), batch_size=3, max_failed_fraction=1)
    job = EmbedRunRequest(str(pictures), str(root / "out"), str(generator), str(vgg), config)
    embed(job)
    return root / "out"


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> str:
    """A copy of it, to be spoilt; the pictures stay where they are."""
    shutil.copytree(finished, tmp_path / "out")
    return str(tmp_path / "out")


def large_run(where: str, rows: int, latent_size: int, layers: int) -> None:
    """A table of `rows` images with random figures, one in fifty failed; its pictures never existed."""
    stream = np.random.default_rng(0)
    ok = np.arange(rows) % 50 != 7
    schema = table_schema(latent_size)
    steps = np.array([0, 1, 10, 100], np.int32)
    columns: dict[str, Any] = {name: [None] * rows for name in schema.names}
    columns |= {
        "image_id": [f"folder/{i:07d}.png" for i in range(rows)],
        "uri": [f"/nowhere/folder/{i:07d}.png" for i in range(rows)],
        "status": np.where(ok, "ok", "crashed").tolist(),
        "error_type": np.where(ok, None, "CrashedError").tolist(),
        "error": np.where(ok, None, "3 workers died").tolist(),
        "latent": [stream.normal(size=latent_size).astype(np.float32) if good else None for good in ok],
        "steps": np.where(ok, 100, None).tolist(),
        "loss_curve_steps": [steps if good else None for good in ok],
        "loss_curve": [np.float32(1 + stream.random()) / (1 + steps) if good else None for good in ok],
        "seconds": np.where(ok, 12.5, None).tolist(),
        "worker": [f"actor-{i % 90}" for i in range(rows)],
        "device": ["NVIDIA H200"] * rows,
        "embedded_at": [datetime.datetime.fromtimestamp(1e9 + i, datetime.UTC) for i in range(rows)],
    }
    for name in ("psnr", "ssim", "lpips", "loss", "w_distance"):
        columns[name] = np.where(ok, stream.normal(20, 3, rows), None).tolist()
    table = pa.table({field.name: pa.array(columns[field.name], field.type) for field in schema})
    generator = {"fingerprint": "ab" * 32, "family": "stylegan1", "origin": "made up", "latent_shape": [2, 3]}
    vgg = {"fingerprint": "cd" * 32, "origin": "random"}
    settings = {"fit": "crop", "source": "/nowhere", "generator": generator, "vgg": vgg}
    shape = (layers, latent_size // layers)
    meta = shard_metadata(
        latent_shape=shape, space="w+", generator="ab" * 32, vgg="cd" * 32, settings=settings, code_version="1"
    )
    store = open_store(where)
    for shard, start in enumerate(range(0, rows, 1000)):
        store.put(RunLayout.shard(shard), encode_shard(table.slice(start, 1000), meta))


def test_a_run_is_shown_whole_and_escaped(out: str, generator: Path) -> None:
    path = write_report(out, generator_weights(str(generator)))
    assert path == f"{out}/report.html"
    html = Path(path).read_text()
    assert html.count("<img ") == 3 * PICTURES
    assert "<script" not in html and "&lt;script&gt;alert(1)" in html
    assert "<b>broken" not in html and "&lt;b&gt;broken.jpg" in html and "HTML" in html
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:|#)""", html), "everything is inside"
    assert not Path(out, "report").exists(), "the page shows every image"
    assert "http:" not in html and "https:" not in html
    for figure in (
        "PSNR",
        "SSIM",
        "w_avg",
        "Loss by step",
        "Images finished over time",
        "PictureError",
        "retry-failed",
    ):
        assert figure in html
    assert "LPIPS" not in html, "no figure for what nobody measured"
    assert generator_weights(str(generator)).fingerprint in html


def test_without_the_generator_the_originals_stand_alone(out: str) -> None:
    html = Path(write_report(out, None, "it was <lost>")).read_text()
    assert html.count("<img ") == PICTURES and html.count("not rendered") >= PICTURES
    assert "it was &lt;lost&gt;" in html


def test_originals_that_are_gone_or_changed_are_said_to_be(out: str, finished: Path, generator: Path) -> None:
    pictures = finished.parent / "pictures"
    gone, changed = pictures / "0.png", pictures / "1.png"
    before = changed.read_bytes()
    hidden = gone.rename(finished.parent / "hidden.png")
    scene(77, (40, 40)).save(changed)
    try:
        html = Path(write_report(out, generator_weights(str(generator)))).read_text()
    finally:
        changed.write_bytes(before)
        hidden.rename(gone)
    assert "original gone" in html and "original changed since" in html
    assert html.count("<img ") == 3 * PICTURES - 4


def test_another_generator_is_refused_with_both_fingerprints(out: str, generator: Path, tmp_path: Path) -> None:
    other = random_generator("stylegan1", 16, seed=4, width=16, channel_base=256)
    mine = generator_weights(str(generator)).fingerprint
    with pytest.raises(RunConflictError, match=rf"{mine[:12]}.*{other.fingerprint[:12]}"):
        write_report(out, other)
    write_safetensors(other, tmp_path / "other.safetensors")
    line = refusal(here("report", out, "--generator", tmp_path / "other.safetensors"))
    assert mine[:12] in line


def test_a_large_run_gives_a_small_page_of_samples(tmp_path: Path) -> None:
    weights = random_generator("stylegan1", 16, seed=3, width=16, channel_base=256)
    layers, w_dim = weights.latent_shape
    large_run(str(tmp_path), 30_000, layers * w_dim, layers)
    page = Path(write_report(str(tmp_path), None, "no generator"))
    assert page.stat().st_size < 200_000
    html = page.read_text()
    assert html.count("<figure") == 3 * facts.PER_GROUP
    assert '<td class="n">600</td>' in html and html.count("3 workers died") == facts.EXAMPLES
    assert "and 40 more" in html, "workers"
    gathered = facts.gather(str(tmp_path))
    assert gathered.rows == 30_000 and gathered.statuses == {"crashed": 600, "ok": 29_400}
    best, worst = gathered.picks["Best"], gathered.picks["Worst"]
    assert len(set(best + worst + gathered.picks["Random sample"])) == 3 * facts.PER_GROUP
    assert gathered.curves is not None and gathered.curves.images == facts.CURVE_SHARDS * 980
    assert (np.diff(gathered.curves.quantiles, axis=0) >= 0).all()
    assert gathered.throughput is not None and gathered.throughput.counts.sum() == 30_000
    assert sum(share.images for share in gathered.throughput.shares) == 30_000
    assert gathered == gathered and facts.gather(str(tmp_path)).picks == gathered.picks, "the sample is the same again"


def test_the_command_finds_the_generator_that_the_run_recorded(out: str, s3_bucket: str) -> None:
    result = i2s_batch("report", out)
    assert (result.returncode, result.stdout.strip()) == (0, f"{out}/report.html"), result.stderr
    assert Path(out, "report.html").read_text().count("<img ") == 3 * PICTURES
    remote = open_store(f"s3://{s3_bucket}/runs/one")
    local = open_store(out)
    for info in local.list():
        if info.key != "report.html":
            remote.put(info.key, local.get(info.key))
    result = here("report", remote.url)
    assert result.stdout.strip() == f"{remote.url}/report.html", result.stderr
    assert remote.get("report.html").decode().count("<img ") == 3 * PICTURES


def test_a_generator_that_is_gone_is_no_error(out: str) -> None:
    record = Path(out, "run.json")
    record.write_text(record.read_text().replace(".safetensors", ".lost"))
    assert here("report", out).returncode == 0
    html = Path(out, "report.html").read_text()
    assert "Reconstructions are not rendered" in html and "--generator" in html


def test_no_run_is_refused(tmp_path: Path) -> None:
    assert "holds no output of i2s-batch" in refusal(here("report", tmp_path / "nothing"))


def test_charts_take_any_values() -> None:
    for values in (np.array([1.0]), np.array([2.0, 2.0]), np.array([np.inf, 1e-9, 3.0]), np.array([-1e12, 1e12])):
        assert charts.histogram(values, "x <y>").count("<rect") >= 1
        assert "x &lt;y&gt;" in charts.histogram(values, "x <y>")
    assert charts.histogram(np.array([np.inf]), "x") == "" == charts.histogram(np.array([]), "x")
    assert charts.bands(np.array([0]), np.ones((5, 1)), "x") == ""
    assert "<polygon" in charts.bands(np.array([1, 2]), np.ones((5, 2)), "x")
    day = charts.bars_over_time(np.array([3, 0, 2]), np.array([0, 1, 2, 3]) * 86400.0, "x")
    assert "3 d</text>" in day and day.count("<rect") == 2


def test_the_scale_of_differences_never_saturates_and_shows_small_ones() -> None:
    one = np.zeros((16, 16, 3), np.uint8)
    other = one.copy()
    other[..., 1] = np.arange(256).reshape(16, 16)  # the largest of three channels counts
    other[..., 2] = np.arange(256).reshape(16, 16) // 2
    colours = difference.difference_image(one, other).reshape(256, 3).astype(int)
    assert len({tuple(colour) for colour in colours.tolist()}) == 256
    bright = colours @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(bright) > -0.5).all() and bright[5] - bright[0] > 15, (
        "brighter from step to step, from the first on"
    )
    np.testing.assert_array_equal(difference.difference_image(other, one).reshape(256, 3), colours)
    np.testing.assert_array_equal(colours[255], difference.COLOURS[-1])
    assert [difference.position(mark) for mark in (0, 255)] == [0, 1] and difference.MARKS[-1] == 255
    stop = 255 * 0.25**2  # where the second of five colours stands
    np.testing.assert_allclose(colours[round(stop)], difference.COLOURS[1], atol=2)


EXTREMES = [
    np.array([0.00012345, 0.00013]),
    np.array([-9.87654e-5, -1.2e-5, 3e-5]),
    np.array([1.0e6, 9.99e9, 5e9]),
    np.array([0.1234, 0.1235, 0.1236]),
    np.repeat([1.0, 2.0], 4_000_000),
]


def test_no_label_of_an_axis_is_cut_or_covers_another(browser: Any) -> None:
    drawn = [charts.histogram(values, "x") for values in EXTREMES]
    drawn += [charts.bands(np.array([1, 10, 4999]), np.full((5, 3), 1.234e-5) * [[1], [2], [3], [4], [7]], "x")]
    drawn += [
        charts.bars_over_time(np.array([3, 0, 2]), np.array([0, 1, 2, 3]) * span, "x") for span in (0.3, 50.0, 3e7)
    ]
    page = browser.new_page(viewport={"width": 900, "height": 900})
    page.set_content(f"<style>.chart text {{ font: 12px system-ui, sans-serif }}</style>{''.join(drawn)}")
    boxes = page.evaluate(
        "[...document.querySelectorAll('svg')].map(s => [...s.querySelectorAll('text')].map(t => {"
        "const b = t.getBBox(); return [b.x, b.y, b.x + b.width, b.y + b.height]}))"
    )
    page.close()
    assert len(boxes) == len(drawn)
    for number, of_chart in enumerate(boxes):
        assert of_chart, number
        for left, top, right, bottom in of_chart:
            assert left >= 0 and right <= charts.WIDTH and top >= -5 and bottom <= charts.HEIGHT, (number, left, right)
        for one, other in itertools.combinations(of_chart, 2):
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] + 4 or other[3] <= one[1] + 4
            assert apart, (number, one, other)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_a_browser_shows_it_without_fetching_or_complaining(
    browser: Any, out: str, generator: Path, scheme: str, width: int
) -> None:
    path = write_report(out, generator_weights(str(generator)))
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=True
    )
    page = context.new_page()
    fetched: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: fetched.append(request.url.partition(":")[0]))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(Path(path).as_uri())
    assert fetched.count("file") == 1 and set(fetched) <= {"file", "data"}
    assert complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out"
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert page.locator("svg.chart").count() >= 5
    light = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(250, 250, 250)"
    assert light == (scheme == "light")
    context.close()
