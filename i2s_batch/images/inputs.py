"""Reads what Python users hand in as an image: a path, a Pillow image or an array, alone or with an id."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageOps

from i2s_batch.errors import ConfigError, PictureError
from i2s_batch.images.read.decoding import decode_image

# An array is uint8: [H, W, 3], or grey [H, W] or [H, W, 1], or with alpha as its last channel.
ImageLike: TypeAlias = "np.ndarray | Image.Image | str | os.PathLike[str]"
ImageInput: TypeAlias = "ImageLike | tuple[str, ImageLike]"

_CHANNELS = (1, 2, 3, 4)
_AS_PNG = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})  # modes that a PNG keeps as they are
_AS_TIFF = frozenset({"I", "I;16", "I;16L", "I;16B", "F", "CMYK", "LAB"})


def read_input(item: ImageInput, index: int) -> tuple[str, np.ndarray]:
    """Return the id and the pixels, uint8 [H, W, 3], of an image that was handed in as the `index`th, from 0.

    Files are decoded as those of a run are; Pillow images and arrays are treated as files of the same content: turned
    as EXIF says, alpha on white, grey as three equal channels. Without an id, a path is its own, and anything else has
    its index.

    Raises:
        ConfigError: The item is nothing of the kind, or an array of another dtype or shape.
        PictureError: A file or Pillow image cannot be read or decoded.
    """
    image_id, image = _split(item, index)
    try:
        return image_id, _pixels(image)
    except ConfigError as error:
        raise ConfigError(f"image {index} ({image_id!r}): {error}") from error
    except PictureError as error:
        raise PictureError(f"image {index} ({image_id!r}): {error}") from error


def _split(item: object, index: int) -> tuple[str, object]:
    """Return the id of an item, its own or the one it gets, and the image."""
    if isinstance(item, (tuple, list)):
        if len(item) != 2 or not isinstance(item[0], str):
            found = ", ".join(type(each).__name__ for each in item)
            raise ConfigError(
                f"image {index} is a {type(item).__name__} of ({found}); give (id, image), the id as text"
            )
        return item[0], item[1]
    return (os.fspath(item) if isinstance(item, (str, os.PathLike)) else str(index)), item


def _pixels(image: object) -> np.ndarray:
    if isinstance(image, np.ndarray):
        return _of_array(image)
    if isinstance(image, Image.Image):
        return _of_pillow(image)
    if isinstance(image, (str, os.PathLike)):
        return _of_file(Path(image))
    kinds = "a path, a Pillow image, or an array uint8 [H, W, 3]"
    raise ConfigError(f"it is of type {type(image).__name__}, which is not an image; give {kinds}")


def _of_array(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3:
        return array
    has_channels = array.ndim == 3 and array.shape[2] in _CHANNELS
    if array.dtype != np.uint8 or not (array.ndim == 2 or has_channels) or not array.size:
        also = "[H, W] or [H, W, 1] for grey, [H, W, 2] or [H, W, 4] with alpha"
        raise ConfigError(f"its array is {array.dtype} {list(array.shape)}; it must be uint8 [H, W, 3] ({also})")
    grey = array[:, :, 0] if has_channels and array.shape[2] == 1 else array
    return _of_pillow(Image.fromarray(np.ascontiguousarray(grey)))


def _of_pillow(image: Image.Image) -> np.ndarray:
    """Decode a Pillow image as a lossless file of it, so that there is one way from modes and profiles to pixels."""
    stream = io.BytesIO()
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode in _AS_TIFF:
            upright.save(stream, "TIFF")
        else:
            plain = upright if upright.mode in _AS_PNG else upright.convert(_plain_mode(upright))
            plain.save(stream, "PNG", compress_level=0)
    except (OSError, SyntaxError, ValueError, ArithmeticError) as error:  # of a file that Pillow reads only now, too
        raise PictureError(f"the Pillow image of mode {image.mode} cannot be read: {error}") from error
    return decode_image(stream.getvalue())


def _plain_mode(image: Image.Image) -> str:
    return "RGBA" if image.mode.lower().endswith("a") else "RGB"


def _of_file(path: Path) -> np.ndarray:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PictureError(f"it cannot be read: {error.strerror or error}; give a path on this machine") from error
    return decode_image(data)
