"""The nodes of a cluster, without one: what is asked of each, and the line of one that lacks something.

tests/cluster/test_doctor.py does the same on a real cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from i2s_batch.cli.doctor_page import node_lines
from i2s_batch.config import EmbedRunConfig
from i2s_batch.diagnosis.apart import ApartError
from i2s_batch.diagnosis.asked import Asked, Known
from i2s_batch.diagnosis.device_probe import Device, Devices
from i2s_batch.diagnosis.devices import findings
from i2s_batch.diagnosis.findings import Finding
from i2s_batch.diagnosis.nodes import measuring, reports, workers_of
from i2s_batch.diagnosis.workers import Workers
from i2s_batch.run.ray import survey
from i2s_batch.run.ray.survey import Answer, Node

GIB = 1 << 30
NODES = [
    Node("1", "head", "10.0.0.1", 8, 0),
    Node("2", "first", "10.0.0.2", 16, 1),
    Node("3", "second", "10.0.0.3", 16, 1),
]
SOUND = Devices("13.0", "590.1", "", (Device("some GPU", 80 * GIB, 79 * GIB, ""),), "", "")
WITHOUT = Devices("13.0", "", "RuntimeError: Found no NVIDIA driver on your system", (), "", "")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let functions be called here in place of nodes, of which the second has a GPU that works; their hosts."""
    hosts: list[str] = []

    def call_on(
        nodes: Sequence[Node], function: Callable[..., Any], given: Callable[[Node], tuple[Any, ...]], limit_s: float
    ) -> Iterator[Answer[Any]]:
        for node in nodes:
            hosts.append(node.host)
            yield Answer(node, function(*given(node)))

    def check(asked: Asked, known: Known) -> Iterator[Finding]:
        return findings(SOUND if hosts[-1] == "first" else WITHOUT, asked, 0)

    monkeypatch.setattr(survey, "call_on", call_on)
    monkeypatch.setattr("i2s_batch.diagnosis.devices.check", check)
    return hosts


def test_a_driver_that_is_missing_on_one_of_three_nodes_is_named_there(calls: list[str]) -> None:
    head, first, second = reports(Asked(EmbedRunConfig()), NODES)
    assert calls == ["head", "first", "second"]
    assert (head.state, first.state, second.state) == ("ok", "ok", "fail"), (head.wrong, first.wrong)
    assert [section.name for section in head.sections] == ["versions", "machine", "folders", "devices", "compiler"]
    (one,) = second.wrong
    assert one.found.startswith("Ray counts 1 GPU here, PyTorch can use none: ")
    assert "Found no NVIDIA driver" in one.found
    lines = list(node_lines(second, 80))
    assert lines[0].startswith("  FAIL  second (10.0.0.3): torch ") and "16 CPUs, 1 GPU by Ray" in lines[0]
    assert [line[:19] for line in lines if "FAIL" in line] == ["  FAIL  second (10.", "        FAIL  GPU  "]
    assert max(map(len, lines)) <= 80


def test_a_node_that_does_not_answer_and_one_with_other_packages(
    calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = "the worker's Python lacks the package 'torch'"
    answers = iter([Answer(NODES[0], None, lacking)])
    monkeypatch.setattr(survey, "call_on", lambda *arguments: answers)
    (head,) = reports(Asked(EmbedRunConfig()), NODES[:1])
    assert head.state == "fail" and [each.found for each in head.wrong] == [lacking]
    with pytest.raises(ApartError, match="on node first"):
        monkeypatch.setattr(
            survey, "call_on", lambda *arguments: iter([Answer(NODES[1], None, "no answer within 9 s")])
        )
        measuring(NODES, "cuda")(lambda what: None, None)  # type: ignore[arg-type, return-value]


def test_packages_of_another_version_are_named(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    versions = iter(["0.1.0", "2.15.0"])  # where the run is started; then each package of the node
    monkeypatch.setattr("i2s_batch.diagnosis.nodes.installed", lambda name: next(versions, "0.0.9"))
    (first,) = reports(Asked(EmbedRunConfig()), NODES[1:2])
    (one,) = first.wrong
    assert one.state == "warn"
    assert (
        one.found == "i2s_batch 0.0.9, torch 0.0.9 on this node, i2s_batch 0.1.0, torch 2.15.0 where the run is started"
    )


@pytest.mark.parametrize(
    ("config", "images", "workers"),
    [
        (EmbedRunConfig(), None, Workers(2, "cuda")),
        (EmbedRunConfig(), 1, Workers(1, "cuda")),
        (EmbedRunConfig(device="cpu"), None, Workers(40, "cpu", 1)),
        (EmbedRunConfig(device="cpu", actors=4), 100, Workers(4, "cpu", 10)),
    ],
)
def test_the_workers_of_a_cluster(config: EmbedRunConfig, images: int | None, workers: Workers) -> None:
    assert workers_of(config, NODES, images) == workers
