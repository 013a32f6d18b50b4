"""Registries: names, resolution on first use, and clear errors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from i2s_batch.errors import ConfigError
from i2s_batch.registry import Declaration, Registry


@dataclass(frozen=True)
class Root(Declaration[Callable[[float], float]]):
    """A declaration with a field of its own."""

    degree: int = 2


def roots() -> Registry[Root]:
    return Registry("root", [Root("square", "The square root.", "math:sqrt")])


def test_a_registry_offers_its_names_in_order_and_resolves_them() -> None:
    registry = roots()
    registry.add(Root("none", "The number itself.", "math:fabs", degree=1))
    assert registry.names == ("square", "none")
    assert [declaration.degree for declaration in registry] == [2, 1]
    assert registry.get("square").resolve()(9.0) == 3.0
    assert len(registry) == 2 and "none" in registry and "cube" not in registry


def test_an_unknown_name_is_refused_with_the_names_that_there_are() -> None:
    registry = roots()
    with pytest.raises(ConfigError, match=r"^root is 'cube'; it must be one of square$"):
        registry.get("cube")
    with pytest.raises(ConfigError, match=r"^root is 'cube'; it must be one of square$"):
        registry.remove("cube")


def test_what_is_added_for_a_block_is_gone_after_it_even_after_an_error() -> None:
    registry = roots()
    with pytest.raises(KeyError), registry.added(Root("cube", "The third root.", "math:cbrt", degree=3)) as cube:
        assert registry.get("cube") is cube
        raise KeyError
    assert registry.names == ("square",)


def test_no_name_is_declared_twice() -> None:
    registry = roots()
    with pytest.raises(ConfigError, match="root 'square' is declared already"):
        registry.add(Root("square", "Another.", "math:exp"))
    assert registry.get("square").target == "math:sqrt"


@pytest.mark.parametrize("target", ["math", "math:", ":sqrt", "math.sqrt", "math:a:b", "", "not a module:x"])
def test_a_target_is_a_module_and_an_object(target: str) -> None:
    with pytest.raises(ConfigError, match="'module:object'"):
        Root("broken", "No such thing.", target)


def test_what_cannot_be_resolved_is_said_with_its_name() -> None:
    with pytest.raises(ConfigError, match="'far' needs the module i2s_batch_nowhere, which cannot be imported"):
        Root("far", "Of a package that is not installed.", "i2s_batch_nowhere:x").resolve()
    with pytest.raises(ConfigError, match="'odd' is declared as 'math:odd_root', but math has no odd_root"):
        Root("odd", "Of a module without it.", "math:odd_root").resolve()


def test_a_module_is_imported_when_first_resolved_and_not_before() -> None:
    code = (
        "import sys\n"
        "from i2s_batch.registry import Declaration\n"
        "d = Declaration('b', 'Of the standard library.', 'colorsys:rgb_to_hsv')\n"
        "assert 'colorsys' not in sys.modules\n"
        "d.resolve()\n"
        "assert 'colorsys' in sys.modules\n"
        "print('ok')"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "ok\n"


def test_a_declaration_comes_before_another_where_order_matters() -> None:
    registry = Registry("letter", [Declaration(name, "", "string:ascii_letters") for name in "abd"])
    with registry.added(Declaration("c", "", "string:ascii_letters"), before="d"):
        assert registry.names == ("a", "b", "c", "d")
    assert registry.names == ("a", "b", "d")
    with pytest.raises(ConfigError, match="letter is 'x'; it must be one of a, b, d"):
        registry.add(Declaration("c", "", "string:ascii_letters"), before="x")
    assert registry.names == ("a", "b", "d")
