"""Changes to what a JSON text says, not to its bytes: nearly every result is read as far as the rules go."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

__all__ = ["change_tree"]

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 0.5, 1e308, 2**63, 2**200, "", "0", "-", "é" * 3, "\ud800", "\0", "a" * 300,
    "2026-02-30", "2026-01-01", "%Y-%m-%d", "%", "{}", "(", [], {}, [[]], [{}], {"": ""}, ["a", "a"],
    {"1": 1, "one": 2}, {"kind": "x"},
]  # fmt: skip


def change_tree(content: bytes, longest: int, seed: int) -> bytes:
    """Replace, leave out, repeat, rename or exchange some entries; bytes that are no JSON become an empty object."""
    draw = random.Random(seed)
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        tree = {}
    for _ in range(draw.randrange(1, 4)):
        places = _places(tree)
        if places:
            _change(*draw.choice(places), draw.choice(places), draw)
        else:
            tree = draw.choice(ODD)
    changed = json.dumps(tree).encode()
    return changed if len(changed) <= longest else content


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Return each entry as the object or list that holds it, and the key or number by which it does."""
    found, left = [], [tree]
    while left:
        holder = left.pop()
        if isinstance(holder, (dict, list)):
            keys = list(holder) if isinstance(holder, dict) else range(len(holder))
            for key in keys:
                found.append((holder, key))
                left.append(holder[key])
    return found


def _change(holder: Any, key: Any, other: tuple[Any, Any], draw: random.Random) -> None:
    kind = draw.randrange(7)
    if kind == 0:
        holder[key] = copy.deepcopy(draw.choice(ODD))
    elif kind == 1:
        del holder[key]
    elif kind == 2:
        holder[key] = copy.deepcopy(other[0][other[1]])
    elif kind == 3 and isinstance(holder, dict):
        holder[draw.choice(["", "x", "kind", "name", str(key).upper()])] = holder.pop(key)
    elif kind == 3:
        holder.insert(key, copy.deepcopy(holder[key]))
    elif kind == 4 and isinstance(holder[key], str):
        text = holder[key]
        at = draw.randrange(len(text) + 1)
        holder[key] = text[:at] + draw.choice(["", "%", "-", "0", "\n", "|", "[", "é", text]) + text[at + 1 :]
    elif kind == 5 and isinstance(holder[key], (int, float)):
        holder[key] = draw.choice([-holder[key], holder[key] * 10, holder[key] + 1, str(holder[key])])
    elif kind == 6:
        holder[key] = [copy.deepcopy(holder[key])]
