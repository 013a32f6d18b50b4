"""`i2s_batch` embeds whole datasets of images into StyleGAN's W+ latent space (Image2StyleGAN), on Ray, into Parquet.

    import i2s_batch

    result = i2s_batch.embed("photos/", "latents", generator="ffhq.pkl")
    result.table.query("SELECT image_id, psnr FROM latents ORDER BY psnr")
    i2s_batch.edit("latents", "morphs", i2s_batch.Morph(pairing="all-pairs"), animation="webp")

`dir(i2s_batch)` is what is public. Every name is loaded when it is first asked for, so that the import itself needs
neither torch nor pyarrow nor Ray.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from i2s_batch.config import EmbedConfig
from i2s_batch.errors import ConfigError, I2SError, RunStoppedError

if TYPE_CHECKING:
    from i2s_batch.api.diagnoses import Diagnosis, doctor
    from i2s_batch.api.editing_runs import edit
    from i2s_batch.api.embedding_runs import embed
    from i2s_batch.api.learning import LearnResult, learn
    from i2s_batch.api.merges import merge
    from i2s_batch.api.reports import report
    from i2s_batch.api.results import EditResult, EmbedResult, MergeResult, StudyResult
    from i2s_batch.api.sampling import sample
    from i2s_batch.api.study_runs import study
    from i2s_batch.api.verification import verify
    from i2s_batch.api.weight_files import get_weights
    from i2s_batch.editing import Expression, ListedEdit, Morph, Reenact, Render, Style
    from i2s_batch.inversion import Embedder
    from i2s_batch.inversion.learned_loading import load_learned
    from i2s_batch.models.loading import load_generator, load_vgg
    from i2s_batch.presets import preset
    from i2s_batch.table.arrays import iter_latents, read_latents
    from i2s_batch.table.lazy_table import OpenTable, open_table
    from i2s_batch.table.torch_dataset import LatentDataset, LatentStream

    __version__: str

__all__ = [
    "ConfigError",
    "Diagnosis",
    "EditResult",
    "EmbedConfig",
    "EmbedResult",
    "Embedder",
    "Expression",
    "I2SError",
    "LatentDataset",
    "LatentStream",
    "LearnResult",
    "ListedEdit",
    "MergeResult",
    "Morph",
    "OpenTable",
    "Reenact",
    "Render",
    "RunStoppedError",
    "StudyResult",
    "Style",
    "__version__",
    "doctor",
    "edit",
    "embed",
    "get_weights",
    "iter_latents",
    "learn",
    "load_generator",
    "load_learned",
    "load_vgg",
    "merge",
    "open_table",
    "preset",
    "read_latents",
    "report",
    "sample",
    "study",
    "verify",
]

# The module of each name that is loaded when it is first asked for. No module or package below this one may have the
# name of a function here: importing it would put it in the function's place.
_HOMES = {
    "Diagnosis": "i2s_batch.api.diagnoses",
    "EditResult": "i2s_batch.api.results",
    "EmbedResult": "i2s_batch.api.results",
    "Embedder": "i2s_batch.inversion",
    "Expression": "i2s_batch.editing",
    "LatentDataset": "i2s_batch.table.torch_dataset",
    "LatentStream": "i2s_batch.table.torch_dataset",
    "LearnResult": "i2s_batch.api.learning",
    "ListedEdit": "i2s_batch.editing",
    "MergeResult": "i2s_batch.api.results",
    "Morph": "i2s_batch.editing",
    "OpenTable": "i2s_batch.table.lazy_table",
    "Reenact": "i2s_batch.editing",
    "Render": "i2s_batch.editing",
    "StudyResult": "i2s_batch.api.results",
    "Style": "i2s_batch.editing",
    "doctor": "i2s_batch.api.diagnoses",
    "edit": "i2s_batch.api.editing_runs",
    "embed": "i2s_batch.api.embedding_runs",
    "get_weights": "i2s_batch.api.weight_files",
    "iter_latents": "i2s_batch.table.arrays",
    "learn": "i2s_batch.api.learning",
    "load_generator": "i2s_batch.models.loading",
    "load_learned": "i2s_batch.inversion.learned_loading",
    "load_vgg": "i2s_batch.models.loading",
    "merge": "i2s_batch.api.merges",
    "open_table": "i2s_batch.table.lazy_table",
    "preset": "i2s_batch.presets",
    "read_latents": "i2s_batch.table.arrays",
    "report": "i2s_batch.api.reports",
    "study": "i2s_batch.api.study_runs",
    "verify": "i2s_batch.api.verification",
    "sample": "i2s_batch.api.sampling",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version(__name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
