"""Formats that Pillow decodes only with a plug-in, which is used where it is installed (the extra `images`)."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image

from i2s_batch.images.read.sniff import AVIF, HEIC, JPEG_XL, FileType


@dataclass(frozen=True)
class _Plugin:
    """Names the package of a plug-in, the function that registers it (none if importing does), and its format."""

    package: str
    register: str
    format: str


_PLUGINS = {
    HEIC: _Plugin("pillow_heif", "register_heif_opener", "HEIF"),
    AVIF: _Plugin("pillow_avif", "", "AVIF"),
    JPEG_XL: _Plugin("pillow_jxl", "", "JXL"),
}


@lru_cache(None)
def plugin_formats(found: FileType) -> tuple[str, ...]:
    """Return the formats that a plug-in for a file of this type registers with Pillow; none if it is not installed."""
    plugin = _PLUGINS.get(found)
    if plugin is None or plugin.format in Image.OPEN:
        return () if plugin is None else (plugin.format,)
    try:
        module = importlib.import_module(plugin.package)
    except ImportError:
        return ()
    if plugin.register:
        getattr(module, plugin.register)()
    return (plugin.format,) if plugin.format in Image.OPEN else ()
