"""Three drawn images, tiny networks, and one embedded table of them that tests only read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from i2s_batch.api.embedding_runs import embed
from i2s_batch.api.results import EmbedResult
from tests.material import scene

STEPS = 4


@dataclass(frozen=True)
class Material:
    """A source of three images, a.png to c.png, and the networks."""

    source: Path
    generator: Path
    vgg: Path

    def embed(self, out: Path, **options: object) -> EmbedResult:
        """Embed them in this process, silently unless told otherwise."""
        usual = {"generator": self.generator, "vgg": self.vgg, "steps": STEPS, "in_process": True, "progress": False}
        return embed(self.source, out, **(usual | options))


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory, generator: Path, vgg: Path) -> Material:
    source = tmp_path_factory.mktemp("api") / "in"
    source.mkdir()
    for number, name in enumerate("abc"):
        scene(number, (24, 24)).save(source / f"{name}.png")
    return Material(source, generator, vgg)


@pytest.fixture(scope="session")
def embedded(material: Material, tmp_path_factory: pytest.TempPathFactory) -> EmbedResult:
    """The result of embedding the three."""
    return material.embed(tmp_path_factory.mktemp("embedded") / "out")
