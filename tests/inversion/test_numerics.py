from __future__ import annotations

import pytest
import torch

from i2s_batch.config import PRECISIONS
from i2s_batch.errors import ConfigError
from i2s_batch.inversion.numerics import set_numerics
from i2s_batch.models import build_generator, random_generator


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_network_can_be_traced_whatever_the_precision(precision: str) -> None:
    """Tracing refuses cuDNN flags that disagree with each other."""
    dtype = set_numerics(precision)
    assert dtype == (torch.float64 if precision == "fp64" else torch.float32)
    generator = build_generator(random_generator("stylegan1", 8, width=4, channel_base=16), dtype=dtype)

    class Synthesis(torch.nn.Module):
        def forward(self, ws: torch.Tensor) -> torch.Tensor:
            return generator.synthesize(ws)

    ws = torch.zeros(2, generator.num_layers, generator.w_dim, dtype=dtype)
    traced = torch.export.export(Synthesis(), (ws,), strict=True).module()
    torch.testing.assert_close(traced(ws), generator.synthesize(ws))
    set_numerics("fp32")


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match="precision is 'fp8'"):
        set_numerics("fp8")
