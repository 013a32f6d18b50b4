"""Which ids may be meant by one that a table does not hold."""

from __future__ import annotations

import pytest

from i2s_batch.table.near_ids import near_ids, not_in

IDS = ["people/astronaut.png", "people/Chelsea.PNG", "cats/chelsea.png", "köln/dom.jpg", "a.png", "b.png"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("astronaut.png", ["people/astronaut.png"]),
        ("astronaut", ["people/astronaut.png"]),
        ("people/astronaut.jpg", ["people/astronaut.png"]),
        ("./people/astronaut.png", ["people/astronaut.png"]),
        ("people\\astronaut.png", ["people/astronaut.png"]),
        ("PEOPLE/CHELSEA.png", ["people/Chelsea.PNG"]),
        ("chelsea.png", ["people/Chelsea.PNG", "cats/chelsea.png"]),
        ("k\u006f\u0308ln/dom.jpg", ["köln/dom.jpg"]),
        ("people/astronuat.png", ["people/astronaut.png"]),
        ("nothing like it at all", []),
        ("", []),
    ],
)
def test_near_ids(asked: str, expected: list[str]) -> None:
    assert near_ids(asked, IDS) == expected


def test_the_message() -> None:
    assert not_in("astronaut.png", ["/t"], IDS) == "'astronaut.png' is not in /t; did you mean 'people/astronaut.png'?"
    assert not_in("q", ["/t", "/u"], IDS) == "'q' is not in /t or /u, whose ids are such as 'people/astronaut.png'"
    assert not_in("q", ["/t"], []) == "'q' is not in /t"


def test_of_millions_only_names_are_compared() -> None:
    ids = [f"{number:07d}.png" for number in range(30_000)]
    assert near_ids("0012345.jpg", ids) == ["0012345.png"] and near_ids("00l2345.png", ids) == []
