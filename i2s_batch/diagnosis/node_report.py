"""Defines what was found on a node of a cluster."""

from __future__ import annotations

from dataclasses import dataclass

from i2s_batch.config import Json
from i2s_batch.diagnosis.findings import OK, Finding, Section, worst


@dataclass(frozen=True)
class NodeReport:
    """Holds what was found on a node.

    Attributes:
        host: The name of the machine.
        address: Its address.
        summary: Its versions, devices, cores and memory, in a few words.
        sections: The findings, by group.
    """

    host: str
    address: str
    summary: str
    sections: tuple[Section, ...]

    @property
    def state(self) -> str:
        """Return the worst state of its findings."""
        return worst(section.state for section in self.sections)

    @property
    def wrong(self) -> list[Finding]:
        """Return the findings that something is wrong."""
        return [each for section in self.sections for each in section.findings if each.state != OK]

    def to_json(self) -> dict[str, Json]:
        """Return it as JSON values."""
        sections: list[Json] = [section.to_json() for section in self.sections]
        return {"host": self.host, "address": self.address, "summary": self.summary, "sections": sections}
