"""Recipes against the formulas by hand, requests, and names."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from i2s_batch.editing import (
    EDITS,
    Expression,
    ImageSequence,
    ListedEdit,
    Morph,
    Recipe,
    Reenact,
    Render,
    Style,
    apply_recipe,
)
from i2s_batch.errors import ConfigError

L, W = 6, 4


def codes(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).standard_normal((count, L, W)))


def test_every_operation_is_its_formula_in_float64() -> None:
    a, b, c = codes(3)
    by_hand = np.empty((L, W))
    for layer in range(L):
        for unit in range(W):
            by_hand[layer, unit] = 0.3 * b[layer, unit] + 0.7 * a[layer, unit]
    np.testing.assert_allclose(apply_recipe(Recipe("morph", ("a", "b"), 0.3), [a, b]), by_hand, rtol=0, atol=1e-15)

    mixed = apply_recipe(Recipe("style", ("a", "b"), layers=(1, 4)), [a, b])
    for layer in range(L):
        np.testing.assert_array_equal(mixed[layer], b[layer] if layer in (1, 4) else a[layer])

    threshold = 2.0
    for normalise in (False, True):
        direction = np.zeros((L, W))
        for layer in range(L):
            difference = c[layer] - b[layer]
            if np.sqrt(sum(x * x for x in difference)) >= threshold:
                direction[layer] = difference
        assert 0 < np.count_nonzero(direction.any(1)) < L, "the threshold divides these layers"
        if normalise:
            direction /= np.sqrt((direction**2).sum())
        for name in ("expression", "reenact"):
            made = apply_recipe(Recipe(name, ("a", "b", "c"), 1.7, None, threshold, normalise), [a, b, c])
            np.testing.assert_allclose(made, a + 1.7 * direction, rtol=0, atol=1e-14)

    np.testing.assert_array_equal(apply_recipe(Recipe("render", ("a",)), [a]), a)


def test_torch_tensors_stay_tensors() -> None:
    a, b = map(torch.from_numpy, codes(2))
    made = apply_recipe(Recipe("morph", ("a", "b"), 0.25), [a, b])
    assert made.dtype == torch.float64
    torch.testing.assert_close(made, 0.25 * b + 0.75 * a)


def recipes(request, chosen: list[str]) -> list[list[tuple]]:
    return [[(r.parents, r.strength) for r in s.recipes] for s in request.sequences(chosen, L)]


def test_who_is_morphed_with_whom() -> None:
    ids = ["a", "b", "c"]
    ends = (0.0, 1.0)
    assert [s[0][0] for s in recipes(Morph(ends, "all-pairs"), ids)] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [s[0][0] for s in recipes(Morph(ends, "to", "b"), ids)] == [("a", "b"), ("c", "b")]
    (chain,) = recipes(Morph((0.0, 0.5, 1.0), "chain"), ids)
    assert chain == [(("a", "b"), 0.0), (("a", "b"), 0.5), (("a", "b"), 1.0), (("b", "c"), 0.5), (("b", "c"), 1.0)]
    assert recipes(Morph(ends, "chain"), ["a"]) == []
    listed = (ListedEdit(("c", "a"), (0.1,)), ListedEdit(("a", "b")))
    assert recipes(Morph(ends, listed=listed), []) == [[(("c", "a"), 0.1)], [(("a", "b"), 0.0), (("a", "b"), 1.0)]]


def test_styles_take_half_of_the_layers_unless_told() -> None:
    def layers(**settings) -> tuple:
        (sequence,) = Style("to", "s", **settings).sequences(["a", "s"], L)
        return sequence.recipes[0].layers

    assert layers() == (3, 4, 5) and layers(keep=5) == (5,) and layers(layers=(0, 2)) == (0, 2)
    with pytest.raises(ConfigError, match="layer 6 is to come from the style; the layers are 0 to 5"):
        layers(layers=(6,))
    assert len(list(Style("all-pairs").sequences(["a", "b", "c"], L))) == 6
    (own,) = Style(listed=(ListedEdit(("a", "b"), layers=(1,)),)).sequences([], L)
    assert own.recipes[0].layers == (1,)


def test_expressions_films_and_plain_pictures() -> None:
    made = recipes(Expression((0.5, 1.0), "n", "e"), ["a", "b"])
    assert made[1] == [(("b", "n", "e"), 0.5), (("b", "n", "e"), 1.0)] and len(made) == 2
    (film,) = recipes(Reenact("t"), ["f1", "f2", "f3"])
    assert film == [(("t", "f1", f), 1.0) for f in ("f1", "f2", "f3")]
    (film,) = recipes(Reenact("t", neutral="f2", strength=0.5), ["f1"])
    assert film == [(("t", "f2", "f1"), 0.5)] and recipes(Reenact("t"), []) == []
    assert recipes(Render(), ["a", "b"]) == [[(("a",), None)], [(("b",), None)]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Morph((0.5,)), "exactly one of"),
        (lambda: Morph((0.5,), "all-pairs", listed=(ListedEdit(("a", "b")),)), "exactly one of"),
        (lambda: Morph((), "chain"), "at least|one at least"),
        (lambda: Morph((float("nan"),), "chain"), "finite"),
        (lambda: Morph((0.5,), "to"), "needs the id of an image"),
        (lambda: Morph((0.5,), "sideways"), "must be one of"),
        (lambda: Style("chain"), "must be one of"),
        (lambda: Style("all-pairs", keep=1, layers=(1,)), "not both"),
        (lambda: Expression(neutral="a"), "either the neutral and the expressive image, or an edit list"),
        (lambda: Expression(neutral="a", expressive="b", threshold=-1.0), "threshold is -1"),
        (lambda: Reenact("t", strength=float("inf")), "finite"),
    ],
)
def test_requests_that_make_no_sense_are_refused(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_names_are_readable_safe_and_never_collide() -> None:
    def name(*parents: str, strength: float | None = 0.5) -> str:
        return ImageSequence((Recipe("morph", parents, strength),)).name

    assert name("a/face 1.png", "b/../ü\n.jpg").startswith("face_1-")
    awkward = ["a/x.png", "b/x.png", "a/x.jpg", "A/X.png", "../../etc/passwd", "CON", "x" * 300, "a\0b", "\udcff", ""]
    names = [name(first, second) for first in awkward for second in awkward]
    names += [name("a/x.png", "b/x.png", strength=s) for s in (0.25, 0.250001, None)]
    assert len(set(map(str.lower, names))) == len(names), "also where case does not count"
    assert all(set(n) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") for n in names)
    assert max(map(len, names)) < 100
    two = ImageSequence(tuple(Recipe("morph", ("a", "b"), s) for s in (0.0, 1.0)))
    assert [image_id for image_id, _, _ in two.images()] == [f"{two.name}/00000", f"{two.name}/00001"]


def test_every_edit_names_its_parents() -> None:
    assert {name: EDITS.get(name).resolve().roles for name in EDITS.names} == {
        "morph": ("from", "to"),
        "style": ("content", "style"),
        "expression": ("content", "neutral", "expressive"),
        "reenact": ("target", "neutral", "frame"),
        "render": ("content",),
    }


def test_an_edit_that_is_not_registered_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        ConfigError, match="edit is 'swap'; it must be one of morph, style, expression, reenact, render"
    ):
        apply_recipe(Recipe("swap", ("a",)), codes(1))


def test_listed_edits_are_checked_as_the_request_is() -> None:
    for strengths in ((float("nan"),), (0.5, float("inf")), ()):
        with pytest.raises(ConfigError, match=r"strengths: (nan|inf) is not finite|there are no strengths"):
            ListedEdit(("a", "b"), strengths)
        with pytest.raises(ConfigError, match=r"strengths: (nan|inf) is not finite|there are no strengths"):
            Morph(strengths, "chain")


def test_no_sequence_is_longer_than_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2s_batch.editing.requests.MOST_FRAMES", 10)
    with pytest.raises(ConfigError, match="one sequence would have 11 images; at most 10 are made"):
        Morph(tuple(range(11)), "chain")
    with pytest.raises(ConfigError, match="one sequence would have 12 images"):
        list(Morph((0.0, 0.5, 1.0), "chain").sequences("abcde", 6))
    with pytest.raises(ConfigError, match="one sequence would have 11 images"):
        list(Reenact("a").sequences([str(n) for n in range(11)], 6))
