"""Keeps SOURCE and OUT apart: what a run writes is never an image of its own source."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from i2s_batch.errors import SourceError
from i2s_batch.sources.names import path_of_uri
from i2s_batch.storage import is_remote, open_store

_FOLDERS_CACHED = 4096  # the images of a list mostly lie in a few folders


class Output:
    """Tells the listing of a source what lies in OUT, whatever path leads there.

    Args:
        out: A path or an s3:// url; None if there is no OUT.
    """

    def __init__(self, out: str | None) -> None:
        self._prefix: str | None = None
        self._folder: str | None = None
        if out is not None and is_remote(out):
            self._prefix = f"{open_store(out).url}/"
        elif out is not None:
            self._folder = _as_folder(out)
        self._holds_folder = lru_cache(_FOLDERS_CACHED)(self._holds_by_any_name)

    @property
    def folder(self) -> str | None:
        """Return the local folder that is OUT if it exists; before that nothing can lie in it."""
        return self._folder if self._folder is not None and os.path.isdir(self._folder) else None  # noqa: PTH112

    def check_source(self, source: str, top: str) -> None:
        """Raise SourceError if `top` is OUT or lies in it.

        `top`: the folder, the file or the prefix with its last '/' that `source` names.
        """
        if self._holds_by_any_name(top):
            out = str(self._prefix or self._folder)
            what = "is both SOURCE and OUT" if self._is_out(top) else f"lies in OUT, {out.rstrip('/')!r}"
            raise SourceError(f"{source!r} {what}; give OUT a folder or prefix of its own")

    def check_listed(self, source: str, uri: str) -> None:
        """Raise SourceError if an image that the list `source` names lies in OUT.

        The image itself is not looked at, since a list may name millions; links in the path of its folder are followed.
        """
        folder = uri if is_remote(uri) else os.path.dirname(path_of_uri(uri))  # noqa: PTH120
        if self._holds_folder(folder):
            raise SourceError(
                f"{source!r} names {uri!r}, which lies in OUT; remove it from the list, or use another OUT"
            )

    def holds(self, path: str) -> bool:
        """Return whether a path is OUT or lies in it, or whether an s3:// url lies in it.

        Links are followed, also in paths that lead to nothing.
        """
        if is_remote(path):
            return self._prefix is not None and path.startswith(self._prefix)
        return self._folder is not None and _as_folder(path).startswith(self._folder)

    def _holds_by_any_name(self, path: str) -> bool:
        """Return what `holds` does, also where OUT has another name: mounted twice, or spelt in other cases."""
        if self.holds(path) or is_remote(path) or self.folder is None:
            return self.holds(path)
        real = Path(os.path.realpath(path))
        return any(above.exists() and above.samefile(self.folder) for above in (real, *real.parents))

    def _is_out(self, top: str) -> bool:
        return _as_folder(top) in (self._prefix, self._folder)


def _as_folder(path: str) -> str:
    """Return a path, links followed, or a url, with one '/' at its end."""
    return f"{path.rstrip('/')}/" if is_remote(path) else os.path.join(os.path.realpath(path), "")  # noqa: PTH118
