"""Options: one that would change nothing is refused, and a number is checked before anything has its size."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.program import status_of

EMBED = ("embed", "SOURCE", "OUT", "--generator", "g.pkl")
MORPH = ("edit", "morph", "TABLE", "OUT", "--chain")
BENCH = ("bench", "--generator", "g.pkl")


def refused(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which a command is refused, before it looks for any file."""
    assert status_of(*words) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert captured.out == ""
    return line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*EMBED, "--price-per-hour", "2"), "--price-per-hour has no effect without --dry-run"),
        ((*EMBED, "--patience", "100"), "--patience has no effect without --early-stopping"),
        ((*EMBED, "--patience", "250"), "--patience has no effect"),  # the default, but asked for
        (("study", "init", "SOURCE", "OUT", "--generator", "g", "--init", "mean"), "--init has no effect in the study"),
        (("study", "space", "SOURCE", "OUT", "--generator", "g", "--space", "w"), "--space has no effect in the study"),
        ((*MORPH, "--fps", "24"), "--fps has no effect without --animation webp|gif|mp4; leave it out"),
        ((*MORPH, "--frames", "5", "--strengths", "0,1"), "--frames has no effect with --strengths"),
        (
            ("edit", "reenact", "TABLE", "OUT", "--target", "a", "--animation", "none", "--fps", "5"),
            "--fps has no effect",
        ),
        (("edit", "style", "TABLE", "OUT", "--all-pairs", "--fps", "24"), "No such option '--fps'"),
        (("render", "TABLE", "OUT", "--fps", "24"), "No such option '--fps'"),
        ((*BENCH, "--family", "stylegan2"), "--family has no effect with --generator"),
        ((*BENCH, "--resolution", "64"), "--resolution has no effect with --generator"),
        (("bench", "--steps", "5"), "--steps has no effect without --images"),
    ],
)
def test_an_option_without_effect(words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(words, capsys)
    assert message in line and line.startswith("i2s-batch: ")


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(
    "words",
    [
        (*EMBED, "--dry-run", "--price-per-hour"),
        (*EMBED, "--max-failed-fraction"),
        (*EMBED, "--early-stopping"),
        ("bench", "--price-per-hour"),
        (*MORPH, "--animation", "gif", "--fps"),
        (*MORPH, "--strengths"),
        ("edit", "expression", "TABLE", "OUT", "--neutral", "a", "--expressive", "b", "--threshold"),
        ("edit", "reenact", "TABLE", "OUT", "--target", "a", "--strength"),
    ],
)
def test_what_is_no_finite_number(words: tuple[str, ...], number: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert number.removeprefix("-") in refused((*words, number), capsys)


@pytest.mark.parametrize("number", ["nan", "0", "-1"])
def test_checkpoints_need_an_interval(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "it must be above 0 s" in refused((*EMBED, "--checkpoint-every", number), capsys)


def test_ids_beside_a_list_of_edits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edits = tmp_path / "edits.csv"
    edits.write_text("content,neutral,expressive\na,b,c\n")
    words = ("edit", "expression", "TABLE", "OUT", "--edit-list", str(edits))
    for more in (("--neutral", "b"), ("--expressive", "c"), ("--neutral", "b", "--expressive", "c")):
        assert "or an edit list" in refused((*words, *more), capsys)


@pytest.mark.parametrize(
    "words",
    [
        (*MORPH, "--frames", "1000000000"),
        (*MORPH, "--strengths", ",".join(["0.5"] * 10_001)),
        ("edit", "style", "TABLE", "OUT", "--all-pairs", "--layers", "0-9999999"),
        ("edit", "style", "TABLE", "OUT", "--all-pairs", "--layers", "7-4"),
        ("neighbours", "TABLE", "a", "-k", "1000000000"),
        ("bench", "--resolution", "1000000000"),
        ("bench", "--batch-size", "1000000000"),
        ("bench", "--pairs", "1000000000"),
        (*EMBED, "--steps", "1000000000"),
        (*EMBED, "--batch-size", "1000000000"),
        (*EMBED, "--actors", "1000000000"),
        (*EMBED, "--shard-size", "1000000000"),
        ("study", "init", "SOURCE", "OUT", "--generator", "g", "--sample", "1000000000"),
    ],
)
def test_numbers_that_nothing_has_room_for(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    refused(words, capsys)


def test_ranges_of_layers_in_a_list_of_edits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edits = tmp_path / "edits.csv"
    edits.write_text("content,style,layers\n" + "a,b,0-9999999\n" * 30)
    line = refused(("edit", "style", "TABLE", "OUT", "--edit-list", str(edits)), capsys)
    assert "row 1: '0-9999999' is no list of layers" in line and "from 0 to 999" in line
