"""Every public function of Python, given values of other types: one clear line of our own errors, nothing written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import i2s_batch as b
from i2s_batch.argument_types import check_fields, typed
from i2s_batch.config import EmbedRunConfig, RunConfig

G = "generator"


def calls(table: str, g: str, out: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield calls with one value of another type each, by the name of the value in the message."""
    yield "seeds", lambda: b.sample(g, out, seeds=3)
    yield "seed", lambda: b.sample(g, out, seeds=[1.5])
    yield "psi", lambda: b.sample(g, out, psi="a")
    yield "cutoff", lambda: b.sample(g, out, cutoff=1.5)
    yield "label", lambda: b.sample(g, out, label="a")
    yield "table", lambda: b.sample(g, out, table=1)
    yield "device", lambda: b.sample(g, out, device=3)
    yield "precision", lambda: b.sample(g, out, precision=None)
    yield "batch", lambda: b.sample(g, out, batch_size="x")
    yield "out", lambda: b.sample(g, None)
    yield "generator", lambda: b.sample(3, out)
    yield "sample", lambda: b.verify(table, sample=-1)
    yield "sample", lambda: b.verify(table, sample="x")
    yield "out", lambda: b.verify(None)
    yield "network", lambda: b.verify(table, generator=3)
    yield "out", lambda: b.report(None)
    yield "generator", lambda: b.report(table, generator=3)
    for outs in (None, 3, table, [table]):
        yield "outs", lambda outs=outs: b.merge(outs, out)
    yield "outs", lambda: b.merge([1, 2], out)
    yield "new", lambda: b.merge([table, table], None)
    for out_ in (None, 3, b"x"):
        yield "out", lambda out_=out_: b.open_table(out_)
        yield "out", lambda out_=out_: b.read_latents(out_)
        yield "out", lambda out_=out_: b.LatentDataset(out_)
        yield "out", lambda out_=out_: b.LatentStream(out_)
        yield "path", lambda out_=out_: b.load_generator(out_)
        yield "source", lambda out_=out_: b.load_vgg(out_)
    for columns in ("psnr", 3):
        yield "columns", lambda columns=columns: b.read_latents(table, columns=columns)
        yield "columns", lambda columns=columns: b.LatentDataset(table, columns=columns)
        yield "columns", lambda columns=columns: b.LatentStream(table, columns=columns)
        yield "columns", lambda columns=columns: b.open_table(table).to_arrow(columns)
    yield "where", lambda: b.read_latents(table, where=3)
    yield "where", lambda: b.LatentDataset(table, where=3)
    for size in ("a", 1.5, 0):
        yield "batch", lambda size=size: list(b.iter_latents(table, batch_size=size))
        yield "batch", lambda size=size: list(b.open_table(table).batches(size))
    yield "sql", lambda: b.open_table(table).query(3)
    for ids in (3, [3], "a.png"):
        yield "ids", lambda ids=ids: b.open_table(table).rows(ids)
        yield "ids", lambda ids=ids: b.open_table(table).latents(ids)
    yield "device", lambda: b.load_generator(g, device="nope")
    yield "dtype", lambda: b.load_generator(g, dtype="float")
    yield "dtype", lambda: b.load_vgg("random", dtype=torch.int32)
    yield "generator", lambda: b.Embedder(3, 4)
    yield "config", lambda: b.Embedder(b.load_generator(g), b.load_vgg("random"), 3)
    yield "out", lambda: b.edit(table, None, b.Render())
    yield "table", lambda: b.edit(None, out, b.Render())
    yield "request", lambda: b.edit(table, out, 3)
    yield "source", lambda: b.embed(None, out, generator=g)
    yield "overwrite", lambda: b.embed(".", out, generator=g, overwrite=1)
    yield "source_moved", lambda: b.embed(".", out, generator=g, source_moved="yes")
    yield "name", lambda: b.study(".", out, [], generator=g)


def values() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield settings and requests with one value of another type each."""
    for name in ("seed", "steps", "batch_size", "plateau_steps"):
        for value in (1.5, "5", None, True):
            yield name, lambda name=name, value=value: b.EmbedConfig(**{name: value})
    for name in ("space", "init", "fit", "optimizer"):
        for value in (3, [], None):
            yield name, lambda name=name, value=value: b.EmbedConfig(**{name: value})
    for name in ("learning_rate", "beta1", "epsilon"):
        for value in ("x", None, True):
            yield name, lambda name=name, value=value: b.EmbedConfig(**{name: value})
    yield "learning rate", lambda: b.EmbedConfig(learning_rate=float("nan"))
    yield "loss_weights", lambda: b.EmbedConfig(loss_weights=3)
    yield "compile", lambda: b.EmbedConfig(compile="x")
    yield "actors", lambda: RunConfig(actors=1.5)
    yield "embed", lambda: EmbedRunConfig(embed=3)
    yield "to", lambda: b.Morph(to=3)
    yield "strengths", lambda: b.Morph(3)
    yield "pairing", lambda: b.Morph(pairing=[])
    yield "listed", lambda: b.Morph(listed=3)
    yield "listed", lambda: b.Morph(listed=("a",))
    yield "row 1 of the edit list gives layers", lambda: b.Morph(listed=(b.ListedEdit(("a", "b"), layers=(1,)),))
    yield "keep", lambda: b.Style(keep="a", to="x")
    for layers in ("a", (1.5,), 3):
        yield "layers", lambda layers=layers: b.Style(layers=layers, to="x")
    yield "neutral", lambda: b.Expression(neutral=3, expressive="a")
    yield "threshold", lambda: b.Expression((1.0,), "a", "b", threshold="x")
    yield "normalise", lambda: b.Expression((1.0,), "a", "b", normalise=3)
    yield "target", lambda: b.Reenact(3)
    yield "strength", lambda: b.Reenact("a", strength="x")
    for parents in ("ab", 3):
        yield "parents", lambda parents=parents: b.ListedEdit(parents)


def test_a_call_with_another_type_is_one_line(embedded: b.EmbedResult, material: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for number, (name, call) in enumerate(calls(embedded.out, str(material.generator), str(out))):
        with pytest.raises(b.I2SError) as refused:
            call()
        assert name in str(refused.value) and "\n" not in str(refused.value), number
        assert not out.exists(), number


def test_a_setting_of_another_type_is_one_line() -> None:
    for number, (name, make) in enumerate(values()):
        with pytest.raises(b.ConfigError) as refused:
            make()
        assert name in str(refused.value) and "\n" not in str(refused.value), number


def test_a_report_of_a_study_takes_no_generator(material: Any, tmp_path: Path) -> None:
    options = {"sample": 1, "steps": 1, "in_process": True, "progress": False}
    networks = {"generator": material.generator, "vgg": material.vgg}
    b.study(material.source, tmp_path / "study", "init", **networks, **options)
    with pytest.raises(b.ConfigError, match="--generator has no effect on a study"):
        b.report(tmp_path / "study", generator=material.generator)


def test_numbers_of_numpy_become_pythons() -> None:
    import numpy as np

    config = b.EmbedConfig(seed=np.int64(3), learning_rate=np.float32(0.5), stop_plateau=5)
    assert type(config.seed) is int and type(config.learning_rate) is float and type(config.stop_plateau) is float
    assert typed("x", np.bool_(True).item(), bool) is True
    check_fields(config)
    assert config == b.EmbedConfig(seed=3, learning_rate=0.5, stop_plateau=5.0)
