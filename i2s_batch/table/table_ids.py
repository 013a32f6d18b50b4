"""Reads TABLE:ID, which names an image of one of several tables, or of another one."""

from __future__ import annotations

import re
from collections.abc import Iterator


def readings(name: str) -> Iterator[tuple[str, str]]:
    """Yield every way to read a text as TABLE:ID: both may hold colons. The scheme of a URL is no table."""
    for colon in re.finditer(":", name):
        table, image_id = name[: colon.start()], name[colon.end() :]
        if table and image_id and not image_id.startswith("//"):
            yield table, image_id


def is_called(table: str, url: str) -> bool:
    """Return whether TABLE means the table at `url`: it is that path or URL, or its last part or parts."""
    wanted = re.sub(r"^(\.{0,2}/)+", "", table.rstrip("/"))
    return url == table.rstrip("/") or (bool(wanted) and f"/{url.strip('/')}".endswith(f"/{wanted}"))


def is_name_of(name: str, image_id: str) -> bool:
    """Return whether a name is an id, or TABLE:ID with that id."""
    return name == image_id or name.endswith(f":{image_id}")
