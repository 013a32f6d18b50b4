"""The benches run, and their counts are right; nobody checks a time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from i2s_batch.bench import archive_plan, archive_writing, filters, optimizers, overhead, quality, scale
from i2s_batch.bench.synthetic import write_run
from i2s_batch.bench.traffic import CountedBytes
from i2s_batch.models import build_generator, random_generator
from tests.material import scene


def test_bytes_that_operators_take_and_give_are_counted_and_views_are_not() -> None:
    a, b = torch.ones(10, 10), torch.ones(10, 10)
    with CountedBytes() as counted:
        c = a.reshape(100).view(10, 10) + b.T  # 400 bytes each of a, b and c
        c.mul_(a)  # c once, though it is taken and given
    assert counted.total == 3 * 400 + 2 * 400


def test_convolution_and_non_linearity_are_the_whole_layer() -> None:
    generator = build_generator(random_generator("stylegan3", 16, width=8, channel_max=8))
    rows = filters.measure(generator, batch_size=2, repeats=1)
    assert [row["layer"] for row in rows] == list(range(len(generator.layers)))
    ws = generator.w_avg.expand(1, -1)
    x = generator.input(ws, generator.identity)
    for row, layer in zip(rows, generator.layers, strict=True):
        x = layer(x, ws)
        assert row["non_linearity_side"] == x.shape[-1]
        assert row["convolution_s"] > 0 and row["non_linearity_s"] > 0


def test_the_quality_bench_compares_every_precision_with_the_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, generator: Path, vgg: Path, tmp_path: Path
) -> None:
    for number in range(3):
        scene(number, (40, 30)).save(tmp_path / f"{number}.png")
    command = ["quality", *map(str, sorted(tmp_path.iterdir())), "--generator", str(generator), "--vgg", str(vgg)]
    monkeypatch.setattr(sys, "argv", [*command, "--steps", "8", "--precisions", "fp32", "fp64", "bf16"])
    quality.main()
    fp32, fp64, bf16 = json.loads(capsys.readouterr().out.splitlines()[-1])["results"]
    assert fp32["loss_ratio"] == fp32["worst_loss_ratio"] == 1 and fp32["psnr_db"] == 0
    assert fp64["loss_ratio"] == pytest.approx(1, abs=1e-3) and fp64["loss_ratio"] != 1
    assert bf16["loss_ratio"] == pytest.approx(1, abs=0.05) and abs(bf16["psnr_db"]) < 0.2
    assert fp32["seconds"] > 0 and bf16["seconds"] is None


def test_imitated_bfloat16_convolutions_differ_from_the_cpus_own_by_roundings() -> None:
    draw = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2, 8, 9, 9, generator=draw), torch.randn(16, 8, 3, 3, generator=draw)

    def both(dtype: torch.dtype) -> list[torch.Tensor]:
        at = x.to(dtype).requires_grad_()
        result = torch.nn.functional.conv2d(at, weight.to(dtype), padding=1)
        return [result.detach(), *torch.autograd.grad(result.square().sum(), at)]

    for dtype, allowed in ((torch.bfloat16, 2**-7), (torch.float32, 0.0)):
        own = both(dtype)
        with quality.FloatSums():
            imitated = both(dtype)
        for one, other in zip(own, imitated, strict=True):
            assert one.dtype == other.dtype == dtype
            assert (one - other).abs().max() <= allowed * one.abs().max()


@pytest.mark.usefixtures("short_warm_up")
def test_the_optimiser_bench_compares_every_try_with_plain_adam(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, generator: Path, vgg: Path
) -> None:
    command = f"optimizers --faces 2 --steps 12 --try lbfgs:12 --try adam:1 --generator {generator} --vgg {vgg}"
    monkeypatch.setattr(sys, "argv", command.split())
    optimizers.main()
    tries = json.loads(capsys.readouterr().out.splitlines()[-1])["tries"]
    adam, lbfgs, nothing = tries.values()
    assert adam["quotients"] == [1, 1] and adam["as_adam"] == 2
    assert lbfgs["as_adam"] == 2 and lbfgs["most"] < 12 and lbfgs["adam_needs"] == 13
    assert nothing["as_adam"] == 0 and nothing["each_needs"] == [2, 2]
    assert set(nothing["each_adam_needs"]) <= {1, 2}  # its very loss, but for rounding


def test_the_gpu_bench_needs_torch_numpy_and_pillow_only() -> None:
    absent = "('ray', 'boto3', 'botocore', 'pyarrow', 'duckdb', 'lpips', 'click', 'jinja2')"
    block = f"import sys\nfor name in {absent}: sys.modules[name] = None\n"
    code = block + "import i2s_batch.bench.gpu, i2s_batch.bench.filters, i2s_batch.bench.quality"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_occupancy_counts_until_the_last_picture_begins() -> None:
    starts, ends = np.array([0.0, 0.0, 4.0, 6.0]), np.array([4.0, 5.0, 20.0, 7.0])
    assert overhead.occupancy(starts, ends, slots=2) == pytest.approx((4 + 5 + 2) / 12)
    assert overhead.occupancy(np.zeros(2), np.ones(2), slots=2) == 1


def test_every_step_of_the_scale_bench_does_its_work(tmp_path: Path) -> None:
    """Each says itself whether it came to the right end."""
    out, rows, shape = str(tmp_path / "run"), 2000, (2, 4)
    write_run(out, rows, shape)
    for step in scale.STEPS.values():
        assert step(out, rows, shape) > 0


def test_the_planning_and_the_writing_of_archives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive_writing.main([str(tmp_path), "--images", "3", "--bytes", "999"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(one["output"], one["images"]) for one in found] == [
        (name, 3) for name in ("webdataset", "parquet") for _ in "12"
    ]
    archive_plan.main([str(tmp_path), "--archives", "2", "--members", "5"])
    (planned,) = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (planned["archives"], planned["images"]) == (2, 10)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
