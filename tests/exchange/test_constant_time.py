"""Secrets, and what is made from them and kept secret or checked, are compared by ``hmac.compare_digest`` alone.

``==`` stops at the first byte that differs, and the time it takes tells how far a guess was right. What anybody may
see needs no such care: key ids, digests of sealed files, and the fingerprint, which stands in every manifest.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import linkage

PACKAGE = Path(linkage.__file__).parent
FILES = sorted(
    path for wing in ("contract", "exchange", "steward", "hub", "cli") for path in (PACKAGE / wing).rglob("*.py")
)

_SECRET = re.compile(
    r"(?:.*_)?(?:secrets?|seed|mac|hmac|signatures?|check|check_value|commitment|contribution|passphrase|password|pin)"
    r"|(?:content|padding|private|opening|session|linkage|wrapping)_key|prk|okm|shared_secret"
)
_MAKERS = {"derive", "finalize", "unwrap", "sign", "exchange", "decapsulate"}


def named(node: ast.expr) -> str | None:
    """Return the last name of an expression: of ``a.b``, ``a["b"]`` and ``a.b[0:8]`` it is ``b``."""
    if isinstance(node, ast.Name):
        return node.id.lstrip("_")
    if isinstance(node, ast.Attribute):
        return node.attr.lstrip("_")
    if isinstance(node, ast.Subscript):
        if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
            return node.slice.value
        return named(node.value)
    return None


def secret(node: ast.expr) -> bool:
    """Tell whether an expression is, by its name or by what makes it, a secret or a keyed digest."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        of = node.func.value
        keyed = isinstance(of, ast.Name) and of.id == "hmac" and node.func.attr in {"digest", "new"}
        return (
            keyed
            or node.func.attr in _MAKERS
            or (node.func.attr in {"hex", "digest", "hexdigest", "encode"} and secret(of))
        )
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in {"bytes", "encode_bytes", "load_bytes"} and any(map(secret, node.args))
    name = named(node)
    return name is not None and _SECRET.fullmatch(name) is not None


def bare(node: ast.expr) -> bool:
    """Tell whether what is compared with is a constant that says what a thing is: ``None``, a text, a number."""
    return isinstance(node, ast.Constant) and not isinstance(node.value, bytes)


def faults(source: str) -> Iterator[int]:
    """Yield the lines on which a secret is compared by ``==``, ``!=`` or ``in``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare) and any(
            isinstance(op, (ast.Eq, ast.NotEq, ast.In, ast.NotIn)) for op in node.ops
        ):
            sides = [node.left, *node.comparators]
            if any(map(secret, sides)) and not any(map(bare, sides)):
                yield node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_secret_is_compared_by_operators(path: Path) -> None:
    assert list(faults(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        'content["check"] != key.check_value',
        "key.check_value == given",
        "self._secret == other",
        "signature == expected",
        'hmac.digest(key, text, "sha256") == given',
        'hmac.new(key, text, "sha256").hexdigest() != given',
        "code.finalize() == tag",
        "party.derive('x') in known",
        "commitment not in commitments",
        "a == b == padding_key",
        "secret[:8] == found",
        "encode_bytes(secret) == text",
        "share_secret == b''",
    ],
)
def test_what_is_looked_for_is_found(source: str) -> None:
    assert list(faults(source)) == [1]


@pytest.mark.parametrize(
    "source",
    [
        "hmac.compare_digest(content['check'], key.check_value)",
        "signature is None",
        "len(signature) != SIZE",
        "entry.sha256 != digest.hexdigest()",
        "content['key_id'] != party.key_id",
        "kind == 'secret'",
    ],
)
def test_what_is_public_is_not(source: str) -> None:
    assert list(faults(source)) == []


def test_the_check_value_is_compared_so() -> None:
    """The one place where a digest of a secret is compared at all."""
    source = (PACKAGE / "exchange" / "keys.py").read_text(encoding="utf-8")
    assert "compare_digest(check.encode(), key.check_value.encode())" in source
