"""Reasons why a file that is an image is not decoded; `refusals` makes messages of them."""

from __future__ import annotations


class BeyondLimitError(ValueError):
    """A file that would take more time or memory than an image may."""


class UnsupportedImageError(ValueError):
    """An image whose values cannot be shown with certainty, or whose type no decoder knows."""


class DamagedImageError(ValueError):
    """An image whose pixels are not all there, or not those that were written."""
