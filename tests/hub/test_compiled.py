"""A function in numba's cache is compiled anew when any file changes that it was compiled from."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import numpy as np
import pytest
from numba.core.caching import FunctionCache
from numba.core.dispatcher import Dispatcher
from numba.core.extending import _Intrinsic

import linkage.hub
from linkage.hub import commonness as module_of_commonness
from linkage.hub.commonness import commonness
from linkage.hub.compiled import digest

HELD = ("kernels", "collisions", "measures", "locality", "commonness", "dealing", "tiles", "sampling", "enumeration")


def cached(module: ModuleType) -> list[Dispatcher]:
    found = [value for value in vars(module).values() if isinstance(value, Dispatcher)]
    return [one for one in found if isinstance(one._cache, FunctionCache) and one.py_func.__module__ == module.__name__]


def names(code: CodeType) -> set[str]:
    inner = [names(const) for const in code.co_consts if isinstance(const, CodeType)]
    return set(code.co_names).union(*inner)


def files_of(function: Any, seen: set[Any]) -> set[str]:
    """Return the modules of all that is compiled into a function."""
    plain = function.py_func if isinstance(function, Dispatcher) else function._defn
    if plain in seen:
        return set()
    seen.add(plain)
    used = [plain.__globals__.get(name) for name in names(plain.__code__)]
    further = [files_of(one, seen) for one in used if isinstance(one, Dispatcher | _Intrinsic)]
    return {plain.__module__}.union(*further)


def test_what_takes_in_functions_of_other_files_closes_over_the_digest_of_these() -> None:
    checked = 0
    for name in HELD:
        module = importlib.import_module(f"linkage.hub.{name}")
        for function in cached(module):
            others = {file for file in files_of(function, set()) if file != module.__name__}
            cells = [cell.cell_contents for cell in function.py_func.__closure__ or ()]
            expected = [digest(*(sys.modules[other] for other in others))] if others else []
            assert cells == expected, f"{function.py_func.__qualname__} is compiled from {sorted(others)}"
            checked += bool(others)
    assert checked >= 5
    assert set(HELD) <= {module.name for module in pkgutil.iter_modules(linkage.hub.__path__)}


def test_a_changed_file_has_another_digest(tmp_path: Path) -> None:
    modules = [ModuleType(name) for name in "ab"]
    for module in modules:
        module.__file__ = str(tmp_path / module.__name__)
        Path(module.__file__).write_text("one", encoding="utf-8")
    before = digest(*modules)
    assert before == digest(*reversed(modules))
    (tmp_path / "b").write_text("two", encoding="utf-8")
    assert digest(*modules) != before


def commonness_reference(
    counts: np.ndarray, i: np.ndarray, j: np.ndarray, levels: np.ndarray, own: np.ndarray
) -> np.ndarray:
    """Plain twin: level by level."""
    out = np.zeros(levels.shape)
    for number in range(levels.shape[1]):
        seen = counts[:, number].sum(axis=1, dtype=np.int64)
        for level in range(counts.shape[2]):
            nearer = counts[:, number, level:].sum(axis=1, dtype=np.int64)
            expected = seen * (nearer.sum() / max(int(seen.sum()), 1))
            spread = ((nearer - expected) ** 2 - nearer).mean()
            prior = np.clip((expected**2).mean() / max(spread, 1e-12), 0.02, 50)
            here = np.flatnonzero(levels[:, number] == level)
            found = np.maximum(nearer[i[here]] + nearer[j[here]] - own[here], 0)
            out[here, number] = np.log((found + prior) / (expected[i[here]] + expected[j[here]] + prior))
    return out


@pytest.mark.parametrize(("seed", "parts"), [(1, 1), (2, 3)])
def test_commonness_is_that_of_the_plain_twin(seed: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    rows, pairs, filters, size = 400, 900, 2, 29
    rate = rng.gamma(1.5, 1, (rows, filters, size)) * np.geomspace(300, 1e-3, size)
    counts = rng.poisson(rate).astype(np.uint16)
    i, j = rng.integers(0, rows, (2, pairs)).astype(np.int32)
    levels = rng.integers(0, size, (pairs, filters)).astype(np.uint8)
    levels[rng.random(levels.shape) < 0.1] = module_of_commonness.MISSING
    own = rng.integers(0, 3, pairs)
    found = commonness(np.array_split(counts, parts), i, j, levels, own)
    assert np.allclose(found, commonness_reference(counts, i, j, levels, own), rtol=1e-6, atol=1e-9)
    assert (found[levels == module_of_commonness.MISSING] == 0).all()
    assert np.abs(found).max() > 0.5
