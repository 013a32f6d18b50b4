"""Which precision `auto` comes to, for each device and table of figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from i2s_batch.config import EditConfig, EmbedRunConfig
from i2s_batch.errors import ConfigError
from i2s_batch.inversion import precision
from i2s_batch.inversion.precision import QUALITY, PrecisionQuality, choose_precision, device_precision

MEASURED = Path(__file__).parents[2] / "docs/gpu/2026-11-27-h200-quality.jsonl"


@pytest.mark.parametrize(
    ("asked", "on_gpu", "capability", "expected"),
    [
        ("auto", False, None, "fp32"),
        ("auto", True, (9, 0), "tf32"),
        ("auto", True, (8, 0), "tf32"),
        ("auto", True, (7, 5), "fp32"),
        ("auto", True, None, "tf32"),  # of a cluster's GPUs this machine sees none
        ("bf16", True, (9, 0), "bf16"),
        ("fp64", False, None, "fp64"),
    ],
)
def test_auto_is_the_fastest_that_is_as_good(
    asked: str, on_gpu: bool, capability: tuple[int, int] | None, expected: str
) -> None:
    choice = choose_precision(asked, on_gpu, capability)
    assert choice.precision == expected
    assert bool(choice.reason) == (asked == "auto" and on_gpu), "where there was a choice, a line says why"
    assert not choice.reason or f"precision: {expected}" in choice.reason


@pytest.mark.parametrize(
    ("figures", "good"),
    [
        ((1.009, -0.09, 1.009), True),
        ((1.009, -0.09, None), True),
        ((1.011, 0.0, None), False),
        ((1.0, -0.11, None), False),
        ((1.0, 0.0, 1.02), False),
    ],
)
def test_a_precision_must_keep_every_limit(
    figures: tuple[float, float, float | None], good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "QUALITY", (PrecisionQuality("bf16", *figures, "made up"),))
    assert choose_precision("auto", True, (9, 0)).precision == ("bf16" if good else "fp32")


def test_the_table_holds_what_was_measured() -> None:
    """The docs, the file of results and the code agree."""
    text = (Path(__file__).parents[2] / "docs/gpu.md").read_text()
    assert [each.precision for each in QUALITY] == ["bf16", "tf32"]
    for each in QUALITY:
        assert f"| {each.precision} | {each.loss_ratio:.4f} |" in text
        assert f"| {each.psnr_db:+.3f} dB |".replace("+", "") in text
        assert MEASURED.name in each.source
    assert [json.loads(line) for line in MEASURED.read_text().splitlines()]


def test_a_device_without_a_gpu_computes_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_precision("auto", "auto").precision == device_precision("auto", "cpu").precision == "fp32"
    assert device_precision("auto", "cuda").precision == "tf32"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 0))
    assert device_precision("auto", "auto").precision == "fp32"
    assert device_precision("auto", "cpu").reason == ""


def test_only_runs_that_embed_choose_for_themselves() -> None:
    assert EmbedRunConfig(precision="auto").precision == "auto"
    with pytest.raises(ConfigError, match="precision is 'auto'"):
        EditConfig(precision="auto")
