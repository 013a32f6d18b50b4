"""Which pictures a study looks at."""

from __future__ import annotations

from collections import Counter

from i2s_batch.studies.sampling import choose, class_of

IDS = [f"{kind}/{number:03d}.png" for kind, count in (("cat", 50), ("dog", 20), ("car", 3)) for number in range(count)]
CLASSES = [class_of(image_id) for image_id in IDS]


def chosen(count: int, seed: int = 0) -> list[str]:
    return [IDS[place] for place in choose(IDS, CLASSES, count, seed)]


def test_of_each_class_as_many() -> None:
    assert Counter(map(class_of, chosen(9))) == {"cat": 3, "dog": 3, "car": 3}
    assert Counter(map(class_of, chosen(25))) == {"cat": 11, "dog": 11, "car": 3}
    assert chosen(1000) == IDS


def test_a_choice_is_sorted_seeded_and_grows() -> None:
    assert chosen(10) == sorted(chosen(10), key=IDS.index) == chosen(10)
    assert set(chosen(10)) != set(chosen(10, seed=1))
    assert set(chosen(10)) < set(chosen(30))


def test_another_file_changes_little() -> None:
    more = [*IDS, "cat/new.png"]
    found = {more[place] for place in choose(more, [*CLASSES, "cat"], 10, 0)}
    assert len(found - set(chosen(10))) <= 1


def test_a_picture_in_no_folder_has_no_class() -> None:
    assert [class_of(name) for name in ("a.png", "x/a.png", "x/y/a.png")] == ["", "x", "x"]
