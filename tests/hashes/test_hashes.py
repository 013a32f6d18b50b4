"""The results of the reference, computed again; and what counts as a difference."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.hashes import comparison, embeddings
from tests.hashes.__main__ import GROUPS, compute, main
from tests.hashes.comparison import difference, differences

LATENT = np.linspace(-2, 2, 96).reshape(6, 16)
IMAGE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


@pytest.mark.parametrize("group", GROUPS)
def test_the_results_are_those_of_the_reference(group: str, tmp_path: Path) -> None:
    results = compute((group,), tmp_path)
    assert len(results) > 100 and differences(results, comparison.read(), (group,)) == []


@pytest.mark.parametrize("name", ["stylegan1 w+", "stylegan2 z", "random w", "lbfgs w+", "early stopping"])
def test_a_batch_of_one_gives_the_same_results(name: str, vgg: Path) -> None:
    (case,) = (case for case in embeddings.cases() if case.name == name)
    reference = comparison.read()
    compared = 0
    for result in embeddings.embedded(case, vgg, batch_size=1):
        for key, values in embeddings.named(f"embeddings/{name}/{result.image_id}", result):
            assert difference(values, reference[key], each=key.endswith("figures")) == "", key
            compared += 1
    assert compared == case.images * (4 if name.endswith(" z") else 3)


def changed(values: np.ndarray, by: float, place: int = -1) -> np.ndarray:
    """Return a copy in which one value is another."""
    copy = values.copy()
    copy.flat[place] += by
    return copy


@pytest.mark.parametrize(
    ("found", "wanted", "message"),
    [
        (LATENT, LATENT, ""),
        (changed(LATENT, 1e-10), LATENT, ""),
        (changed(LATENT, 1e-8), LATENT, "1 of 96 values differ, by 1e-08 at most"),
        (changed(LATENT, np.nan), LATENT, "1 of 96 values differ, by nan at most"),
        (np.nextafter(LATENT.astype(np.float32), 9, dtype=np.float32), LATENT.astype(np.float32), ""),
        (
            LATENT.astype(np.float32) * np.float32(1 + 1e-6),
            LATENT.astype(np.float32),
            "96 of 96 values differ, by 1.9",
        ),
        (LATENT.astype(np.float32), LATENT, "is float32 .6, 16., was float64 .6, 16."),
        (LATENT[:5], LATENT, "is float64 .5, 16., was float64 .6, 16."),
        (changed(IMAGE, 1), IMAGE, ""),
        (changed(IMAGE, 2), IMAGE, "1 of 48 pixel values differ, by 2 levels at most"),
        (changed(changed(IMAGE, 1), 1, 0), IMAGE, "2 of 48 pixel values differ, by 1 levels at most"),
    ],
)
def test_only_last_bits_may_differ(found: np.ndarray, wanted: np.ndarray, message: str) -> None:
    if message:
        assert re.match(message, difference(found, wanted)), difference(found, wanted)
    else:
        assert difference(found, wanted) == ""


def test_each_figure_is_judged_by_its_own_size() -> None:
    figures = np.array([5000.0, 1e-3])
    assert difference(changed(figures, 1e-7), figures) == ""
    assert difference(changed(figures, 1e-7), figures, each=True) == "1 of 2 values differ, by 1e-07 at most"


def test_the_program_names_every_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = comparison.read()
    first, second, *_ = sorted(name for name in reference if name.startswith("edits/") and name.endswith("/latent"))
    reference[first] = changed(reference[first], 1e-3)
    reference["edits/gone"] = reference.pop(second)
    monkeypatch.setattr(comparison, "read", lambda: reference)
    assert main(["--only", "edits"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and f"{first}: 1 of 96 values differ" in "\n".join(lines)
    assert "edits/gone: is missing" in lines and f"{second}: is not in the reference" in lines


def test_values_and_hashes_of_different_commits_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "HASHES", tmp_path / "hashes.json")
    monkeypatch.setattr(comparison, "REFERENCE", tmp_path / "reference.npz")
    comparison.write({"a/latent": LATENT})
    assert comparison.read().keys() == {"a/latent"}
    text = (tmp_path / "hashes.json").read_text()
    (tmp_path / "hashes.json").write_text(text.replace(text[20:30], "0" * 10))
    with pytest.raises(ValueError, match=r"differ in 'a/latent'; take both from one commit"):
        comparison.read()
