"""Pages beside the report: every image is reached, in full size, and nothing of anybody else's is touched."""

from __future__ import annotations

import base64
import html
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import markupsafe
import numpy as np
import pytest
from PIL import Image

from i2s_batch.api.reports import report, write_report
from i2s_batch.config import EditConfig, EmbedConfig, EmbedRunConfig
from i2s_batch.editing import Morph
from i2s_batch.editing.edit_run import EditRun, EditRunRequest
from i2s_batch.embedding import report_part
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.errors import ConfigError, RunConflictError
from i2s_batch.models import random_generator, write_safetensors
from i2s_batch.models.loading import generator_weights
from i2s_batch.output.layout import RunLayout
from i2s_batch.reporting.facts import gather
from i2s_batch.reporting.pages import IMAGES_ON_PAGE
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.storage import open_store
from tests.material import scene
from tests.program import status_of
from tests.report.test_report import large_run
from tests.runs import embed

DISTINCT = 20
NAMES = [f"folder {number}/é'&#{number:02d}?.png" for number in range(DISTINCT)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, generator: Path, vgg: Path) -> Path:
    """A run over more images than the page itself shows, three of them twice, a broken one and two that are none."""
    root = tmp_path_factory.mktemp("pages")
    source = root / "my holiday photos"
    for number, name in enumerate(NAMES):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        scene(number, (40, 40)).save(source / name)
    for number in range(3):
        shutil.copy(source / NAMES[number], source / f"copy of {number}.png")
    (source / "broken.png").write_bytes((source / NAMES[0]).read_bytes()[:60])
    (source / "notes.pdf").write_bytes(b"%PDF-1.4 x")
    (source / "more.pdf").write_bytes(b"%PDF-1.4 y")
    config = EmbedRunConfig(embed=EmbedConfig(steps=2), batch_size=4, max_failed_fraction=1)
    embed(EmbedRunRequest(str(source), str(root / "o'ut $1"), str(generator), str(vgg), config))
    return root / "o'ut $1"


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt; the images stay where they are."""
    return Path(shutil.copytree(finished, tmp_path / finished.name))


def html_of(out: Path, what: str = "images") -> str:
    """All pages of a kind, in their order, one after the other."""
    return "".join(path.read_text() for path in sorted((out / "report").glob(f"{what}-*.html")))


def escaped(name: str) -> str:
    """A name as it stands in HTML."""
    return str(markupsafe.escape(name))


def linked(page: Path) -> list[Path]:
    """The files that a page shows or leads to."""
    found = re.findall(r"""(?:src|href)=["']?([^"' >]+)""", page.read_text())
    return [page.parent / unquote(url) for url in found if not url.startswith(("data:", "#", "file:"))]


def test_every_row_is_on_one_page_with_its_images(out: Path, generator: Path) -> None:
    write_report(str(out), generator_weights(str(generator)))
    text = html_of(out)
    assert text.count("<figure") == DISTINCT + 3, "one for each content, and three files without a latent"
    for name in NAMES[3:]:
        assert text.count(f"<b>{escaped(name)}</b>") == 1
    for page in [out / "report.html", *(out / "report").glob("*.html")]:
        for path in linked(page):
            assert path.is_file(), f"{page.name} leads to {path}"
    shown = [path for path in linked(out / "report" / "images-00001.html") if path.suffix == ".jpg"]
    assert len(shown) == 3 * DISTINCT == len(list((out / "report").rglob("*.jpg")))
    assert {np.asarray(Image.open(path)).shape for path in shown} == {(16, 16, 3)}
    page = (out / "report.html").read_text()
    assert 'href="report/images-00001.html"' in page and 'href="report/index.html"' in page
    assert "<script" not in text + page and "http" not in text


def test_the_same_content_is_shown_once_with_the_names_of_the_others(out: Path, generator: Path) -> None:
    write_report(str(out), generator_weights(str(generator)))
    facts = gather(str(out))
    assert [len(others) for others in facts.copies.values()] == [1, 1, 1]
    others = {other for group in facts.copies.values() for other in group}
    picked = [name for ids in facts.picks.values() for name in ids]
    assert others.isdisjoint({*picked, *facts.listed["image_id"].to_pylist()}) and len(set(picked)) == 18
    text = html_of(out)
    for first, (other,) in facts.copies.items():
        assert text.count(f"2 files with this content; the others: {escaped(other)}") == 1
        assert text.count(f"<b>{escaped(first)}</b>") == 1 and f"<b>{escaped(other)}</b>" not in text
    assert "3 images have the very bytes of another one" in (out / "report.html").read_text()


def test_files_that_are_no_images_are_named_apart(out: Path) -> None:
    write_report(str(out), None, "none")
    text = (out / "report.html").read_text()
    failures, _, others = text.partition("Files that are no images")
    assert "broken.png" in failures and "notes.pdf" in others and "more.pdf" in others and "notes.pdf" not in failures
    assert re.search(r'<div class="card apart"><b>2</b>not_an_image', text)
    assert re.search(r'<div class="card failed"><b>1</b>unreadable', text)


def test_the_source_has_its_name_on_top(out: Path) -> None:
    write_report(str(out), None, "none")
    for page in [out / "report.html", *(out / "report").glob("*.html")]:
        assert "<h1>my holiday photos: 26 images in W+</h1>" in page.read_text()


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/a/my photos/", "my photos"),
        ("/a/photos/*.jpg", "photos/*.jpg"),
        ("s3://bucket/cats", "cats"),
        ("/a/cats + /b/dogs", "cats + dogs"),
        (("/a/cats", "/b/dogs"), "cats + dogs"),
        ("", ""),
    ],
)
def test_a_source_is_known_by_its_last_part(out: Path, source: str | tuple[str, ...], name: str) -> None:
    facts = gather(str(out))
    assert replace(facts, settings=replace(facts.settings, source=source)).source_name == name


def test_numbers_of_images_that_are_none_are_refused(
    out: Path, generator: Path, morphs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for images in (-1, "all", 1.5, True):
        with pytest.raises(ConfigError, match=rf"images is {images!r}; give a whole number"):
            report(out, images=images)  # type: ignore[arg-type]
    for words, reason in ((("--images", "many"), "'many' is no number of images"), (("--images", "-1"), "-1")):
        assert status_of("report", out, *words) == 2 and reason in capsys.readouterr().err
    assert status_of("report", morphs, "--images", 3) == 2 and "has no effect but on" in capsys.readouterr().err
    assert status_of("report", out, "--generator", generator, "--images", 3) == 0
    assert len(list((out / "report").rglob("*.jpg"))) == 9


def test_only_so_many_are_drawn_and_the_others_are_shown_where_they_are(
    out: Path, generator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_part, "MOST_DRAWN", 4)
    write_report(str(out), generator_weights(str(generator)))
    pages = html_of(out)
    assert len(list((out / "report").rglob("*.jpg"))) == 3 * 4 and pages.count("not drawn") == DISTINCT - 4
    originals = [unquote(url) for url in re.findall(r'src="file://([^"]+)"', pages)]
    assert len(originals) == DISTINCT - 4 and all(Path(path).is_file() for path in originals)
    note = re.search(
        r"Reconstructions are drawn of the first 4 of 20 images; (.*) draws all", (out / "report.html").read_text()
    )
    assert note is not None
    program, *words = shlex.split(note[1].replace("&#39;", "'").replace("&#34;", '"'))
    assert program == "i2s-batch" and status_of(*words) == 0
    assert len(list((out / "report").rglob("*.jpg"))) == 3 * DISTINCT and "not drawn" not in html_of(out)


def test_what_exists_is_not_drawn_again(out: Path, generator: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_report(str(out), generator_weights(str(generator)))
    before = {path: path.read_bytes() for path in (out / "report").rglob("*") if path.is_file()}
    drawn: list[int] = []
    load = report_part.load_samples
    monkeypatch.setattr(
        report_part, "load_samples", lambda rows, *rest: load((drawn.append(1) or row for row in rows), *rest)
    )
    write_report(str(out), generator_weights(str(generator)))
    assert len(drawn) == 18, "those inside the page"
    assert {path: path.read_bytes() for path in (out / "report").rglob("*") if path.is_file()} == before


def test_only_files_that_a_report_spells_are_deleted(out: Path, generator: Path) -> None:
    digest = "0123456789abcdef" * 2
    ours = [RunLayout.report_page("images", 7), RunLayout.report_image(digest, "original")]
    mine = [
        "report/notes.txt",
        "report/images-7.html",
        "report/images/mine.jpg",
        f"report/images/ff/{digest}-original.jpg",
    ]
    mine += [RunLayout.report_page("animations", 1)]  # a name of ours, and not a page of ours
    store = open_store(str(out))
    for key in (*ours, *mine):
        store.put(key, b"x")
    write_report(str(out), None, "none")
    store.put(ours[0], store.get(RunLayout.report_page("images", 1)))
    write_report(str(out), generator_weights(str(generator)))
    assert not any((out / key).exists() for key in ours) and all((out / key).read_bytes() == b"x" for key in mine)


def test_a_report_writes_over_no_page_of_somebody_else(out: Path) -> None:
    store = open_store(str(out))
    store.put(RunLayout.report_index, b"mine")
    with pytest.raises(RunConflictError, match=r"report/index\.html. exists and was written by no report; move it"):
        write_report(str(out), None, "none")
    assert store.get(RunLayout.report_index) == b"mine"


def test_a_report_of_a_table_without_its_record_may_be_anybodys(out: Path) -> None:
    (out / "run.json").unlink()
    write_report(str(out), None, "none")
    (out / "report.html").unlink()
    with pytest.raises(RunConflictError, match=r"report/images-00001\.html"):
        write_report(str(out), None, "none")


def test_the_layout_knows_its_own_files() -> None:
    digest = "0123456789abcdef" * 2
    for key in (
        RunLayout.report_index,
        RunLayout.report_page("animations", 123456),
        RunLayout.report_image(digest, "difference"),
    ):
        assert RunLayout.is_report(key) and RunLayout.names(key)
    for key in (
        *("report/images-٠٠٠٠١.html", "report/images-000001.html", "report/other-00001.html", "report/", "report"),
        *(f"report/images/02/{digest}-original.jpg", f"report/images/01/{digest}-mine.jpg", "report/index.html\n"),
    ):
        assert not RunLayout.is_report(key), key
    assert RunLayout.is_folder("report/images/01")


def test_a_large_run_has_every_image_on_bounded_pages(tmp_path: Path) -> None:
    weights = random_generator("stylegan1", 16, seed=3, width=16, channel_base=256)
    layers, w_dim = weights.latent_shape
    large_run(str(tmp_path), 3_000, layers * w_dim, layers)
    write_report(str(tmp_path), None, "no generator")
    pages = sorted((tmp_path / "report").glob("images-*.html"))
    assert len(pages) == 3_000 / IMAGES_ON_PAGE and max(page.stat().st_size for page in pages) < 110_000
    assert re.findall(r"<figcaption><b>folder/(\d+).png", html_of(tmp_path)) == [f"{n:07d}" for n in range(3_000)]
    for number, page in enumerate(pages, 1):
        neighbours = {
            re.search(r"images-(\d+)", path.name)[1] for path in linked(page) if path.name.startswith("images-")
        }
        assert neighbours == {f"{n:05d}" for n in (number - 1, number + 1) if 1 <= n <= len(pages)}
    assert len(linked(tmp_path / "report" / "index.html")) == len(pages) + 1
    assert (tmp_path / "report.html").stat().st_size < 100_000


def test_the_commands_on_the_page_work_when_they_are_pasted(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_report(str(out), None, "none")
    section = (out / "report.html").read_text().partition("What to do next")[2]
    words = [shlex.split(html.unescape(command)) for command in re.findall(r"<pre>(.*?)</pre>", section)]
    assert all(program == "i2s-batch" for program, *_ in words)
    assert [line[1] for line in words] == [
        "embed",
        *("query",) * 2,
        "neighbours",
        "render",
        "export",
        "verify",
        "report",
    ]
    monkeypatch.chdir(tmp_path)
    for _, command, *rest in words:
        if command not in ("embed", "render"):  # those are runs, which other tests carry out
            assert status_of(command, *rest) == 0, capfd.readouterr().err
    assert words[0][-1] == "--retry-failed" and words[4][2:] == [str(out), f"{out}-rendered"]


def test_other_commands_take_no_notice_of_the_pages(out: Path, tmp_path: Path, generator: Path, s3_bucket: str) -> None:
    local, remote = open_store(str(out)), open_store(f"s3://{s3_bucket}/run")
    for info in local.list():
        remote.put(info.key, local.get(info.key))
    write_report(remote.url, generator_weights(str(generator)))
    keys = {info.key for info in remote.list("report/")}
    assert len(keys) == 2 + 3 * DISTINCT and all(map(RunLayout.is_report, keys))
    write_report(str(out), generator_weights(str(generator)))
    assert {info.key for info in local.list("report/")} == keys
    for where in (str(out), remote.url):
        assert status_of("verify", where, "--sample", 1, "--generator", generator) == 0
    assert status_of("merge", out, remote.url, tmp_path / "merged") == 0
    assert not (tmp_path / "merged" / "report").exists()


# -- what a browser shows ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large_images(tmp_path_factory: pytest.TempPathFactory, vgg: Path) -> Path:
    """A run whose images are larger than the page itself shows them."""
    root = tmp_path_factory.mktemp("large")
    write_safetensors(random_generator("stylegan1", 512, seed=4, width=8, channel_base=64), root / "g.safetensors")
    (root / "in").mkdir()
    scene(1, (600, 600)).save(root / "in" / "a.png")
    config = EmbedRunConfig(embed=EmbedConfig(steps=1), batch_size=1)
    embed(EmbedRunRequest(str(root / "in"), str(root / "out"), str(root / "g.safetensors"), str(vgg), config))
    write_report(str(root / "out"), generator_weights(str(root / "g.safetensors")))
    return root / "out"


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """An empty page."""
    context = browser.new_context(viewport={"width": 1000, "height": 700})
    yield context.new_page()
    context.close()


LOADED = "selector => [...document.querySelectorAll(selector)].filter(i => i.complete).map(i => i.naturalWidth)"


def test_a_click_enlarges_an_image_from_all_of_its_pixels(large_images: Path, page: Any) -> None:
    page.goto((large_images / "report.html").as_uri())
    assert set(page.evaluate(LOADED, ".ground img:not(.whole)")) == {256}
    assert not any(page.evaluate(LOADED, "img.whole")), "they are fetched when they are looked at"
    page.click(".shot .open")
    page.wait_for_function(
        "[...document.querySelectorAll('img.whole')].every(i => i.complete && i.naturalWidth == 512)"
    )
    box = page.locator(".shot:target").bounding_box()
    assert (box["x"], box["y"], box["width"]) == (0, 0, 1000)
    assert page.locator(".shot:target img.whole").first.bounding_box()["width"] >= 300
    page.click(".close")
    assert page.locator(".shot:target").count() == 0


def test_the_page_alone_is_complete(large_images: Path, page: Any, tmp_path: Path) -> None:
    shutil.copy(large_images / "report.html", tmp_path / "report.html")
    page.goto((tmp_path / "report.html").as_uri())
    page.click(".shot .open")
    page.wait_for_timeout(200)
    assert set(page.evaluate(LOADED, ".ground img:not(.whole)")) == {256}
    shot = page.locator(".shot:target .ground").first.screenshot(path=tmp_path / "shot.png")
    assert shot and len(Image.open(tmp_path / "shot.png").convert("RGB").getcolors(1 << 20)) > 50, (
        "the small one is seen"
    )


@pytest.fixture(scope="module")
def morphs(finished: Path, generator: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sequences of 12 frames with animations."""
    root = tmp_path_factory.mktemp("morphs")
    request = Morph(tuple(n / 11 for n in range(12)), "all-pairs")
    config = EditConfig(animation="webp")
    job = EditRunRequest((str(finished),), str(root / "out"), str(generator), request, config, ids=tuple(NAMES[3:6]))
    EditRun(job, generator_weights(str(generator)), [].append).execute(InProcessCluster())
    write_report(str(root / "out"), generator_weights(str(generator)))
    return root / "out"


def test_edits_are_shown_moving_and_in_full_size(morphs: Path, page: Any) -> None:
    text = (morphs / "report.html").read_text()
    assert text.count('src="data:image/webp') == 3 and len(re.findall(r'src="(animations/[^"]+\.webp)"', text)) == 3
    moving = re.search(r'src="data:image/webp;base64,([^"]+)"', text)
    assert moving is not None and b"ANIM" in base64.b64decode(moving[1])[:64]
    assert html_of(morphs).count("<figure") == 36 and html_of(morphs, "animations").count("<figure") == 3
    for path in (*linked(morphs / "report.html"), *linked(morphs / "report" / "images-00001.html")):
        assert path.is_file()
    page.goto((morphs / "report" / "animations-00001.html").as_uri())
    page.wait_for_function("[...document.images].every(i => i.complete && i.naturalWidth == 16)")


@pytest.mark.parametrize("width", [400, 1280])
def test_no_page_is_wider_than_the_window(morphs: Path, out: Path, generator: Path, browser: Any, width: int) -> None:
    write_report(str(out), generator_weights(str(generator)))
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme="dark")
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    for folder in (morphs, out):
        for path in [folder / "report.html", *(folder / "report").glob("*.html")]:
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"
    assert complaints == []
    context.close()
