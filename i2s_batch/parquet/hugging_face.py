"""Describes columns for the library `datasets` of Hugging Face, which reads the types from a Parquet file itself."""

from __future__ import annotations

import json

import pyarrow as pa

from i2s_batch.config import Json

IMAGE = "image"  # the name of the column of images
# How `datasets` stores an image: the bytes of its file, and a name.
IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_KEY = "huggingface"
_NAMES = {"double": "float64", "float": "float32", "halffloat": "float16"}


def feature_metadata(schema: pa.Schema) -> dict[str, str]:
    """Return the metadata of a Parquet file by which `datasets` knows the types of its columns."""
    features = {field.name: _feature(field.type) for field in schema}
    return {_KEY: json.dumps({"info": {"features": features}})}


def _feature(kind: pa.DataType) -> Json:
    """Return the feature of a type, as `datasets` writes it."""
    if kind == IMAGE_TYPE:
        return {"_type": "Image"}
    if pa.types.is_fixed_size_list(kind):
        return {"feature": _feature(kind.value_type), "length": kind.list_size, "_type": "Sequence"}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "Sequence"}
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    return {"dtype": _NAMES.get(str(kind), str(kind)), "_type": "Value"}
