"""Translates where images were to where they are: a source may move after a run has read it.

Rows keep the uri under which their image was read. run.json records where the files are now, so that whoever shows or
checks a row finds its image.
"""

from __future__ import annotations

from collections.abc import Sequence

_ESCAPED = "file://"  # begins the uri of a local file whose name is not UTF-8, see sources/names.py


def moved_uri(uri: str, moves: Sequence[tuple[str, str]]) -> str:
    """Return where the image is now that was at `uri`; `uri` itself where no move tells of it.

    Args:
        uri: A path, a url, or an escaped path that begins with file://.
        moves: Pairs of folders or prefixes, without a '/' at their ends: where files were, and where they are.
    """
    for old, new in moves:
        if uri.startswith(f"{old}/"):
            return new + uri[len(old) :]
        escaped = f"{_escaped(old)}/"
        if uri.startswith(escaped) and "://" not in new:
            return f"{_escaped(new)}/{uri[len(escaped) :]}"
    return uri


def _escaped(folder: str) -> str:
    return folder if folder.startswith(_ESCAPED) else _ESCAPED + folder.replace("%", "%25")
