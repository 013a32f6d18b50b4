"""Reads and writes the metadata of a shard: what each file of a table records about itself."""

from __future__ import annotations

import json
from collections.abc import Mapping

from i2s_batch.config import Json
from i2s_batch.schema.columns import SCHEMA_VERSION
from i2s_batch.schema.settings import TableSettings

META_SCHEMA_VERSION = "i2s_batch.schema_version"
META_LATENT_SHAPE = "i2s_batch.latent_shape"  # JSON [L, w_dim]
META_SPACE = "i2s_batch.space"
META_GENERATOR = "i2s_batch.generator"  # fingerprint, sha256 hex
META_VGG = "i2s_batch.vgg"  # fingerprint, sha256 hex
META_SETTINGS = "i2s_batch.settings"  # JSON
META_CODE_VERSION = "i2s_batch.code_version"


def shard_metadata(
    *,
    latent_shape: tuple[int, int],
    space: str,
    generator: str,
    vgg: str,
    settings: Mapping[str, Json],
    code_version: str,
    schema_version: int = SCHEMA_VERSION,
) -> dict[str, str]:
    """Return what every shard of a run records about itself. `latent_shape` is (L, w_dim); the fingerprints are hex."""
    return {
        META_SCHEMA_VERSION: str(schema_version),
        META_LATENT_SHAPE: json.dumps(list(latent_shape)),
        META_SPACE: space,
        META_GENERATOR: generator,
        META_VGG: vgg,
        META_SETTINGS: json.dumps(settings, sort_keys=True),
        META_CODE_VERSION: code_version,
    }


def texts_of(metadata: Mapping[bytes, bytes] | None) -> dict[str, str]:
    """Return the metadata of a schema as texts."""
    return {name.decode(errors="replace"): value.decode(errors="replace") for name, value in (metadata or {}).items()}


def table_settings(metadata: Mapping[str, str]) -> TableSettings:
    """Return what the metadata of a shard record about its run.

    Raises:
        ValueError: That is missing or damaged.
    """
    try:
        values = json.loads(metadata.get(META_SETTINGS, "{}"))
    except RecursionError as error:
        raise ValueError(str(error)) from error
    if not isinstance(values, dict):
        raise ValueError("the settings are no JSON object")
    return TableSettings.of(values)


def schema_version_of(metadata: Mapping[bytes, bytes] | None) -> int:
    """Return the schema version in the metadata of a shard; that of this program where there is none."""
    version = (metadata or {}).get(META_SCHEMA_VERSION.encode(), b"")
    return int(version) if version.isdigit() else SCHEMA_VERSION
