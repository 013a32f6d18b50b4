"""Puts counts into words, for messages."""

from __future__ import annotations


def counted(number: int, thing: str, things: str | None = None) -> str:
    """Return a number and what it counts: '1 image', '2 images'; `things` is a plural that does not end in s."""
    return f"{number} {thing if number == 1 else things or f'{thing}s'}"
