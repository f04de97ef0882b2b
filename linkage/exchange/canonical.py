"""One way to write a thing: canonical JSON, and byte strings joined so that they can be taken apart in one way only.

Canonical JSON here is RFC 8785 (JCS) narrowed to what we need: objects with ASCII keys, arrays, strings, integers of
at most 53 bits, true, false and null. There are no floats, hence no question of how to print one. What is read must
be, byte for byte, what would be written: duplicate keys, spaces, other orders and other escapes are all refused.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any

__all__ = ["CanonicalError", "dump", "encode_bytes", "load", "load_bytes", "load_loose", "pack"]

_LARGEST = 2**53 - 1


class CanonicalError(ValueError):
    """Bytes that are not what :func:`dump` would have written, or a value that it does not write."""


def _check(value: object, depth: int = 0) -> None:
    if depth > 16:
        raise CanonicalError("nested too deep")
    if value is None or isinstance(value, (bool, str)):
        return
    if isinstance(value, int):
        if abs(value) > _LARGEST:
            raise CanonicalError("an integer of more than 53 bits")
    elif isinstance(value, list):
        for entry in value:
            _check(entry, depth + 1)
    elif isinstance(value, dict):
        for key, entry in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise CanonicalError("a key that is not ASCII text")
            _check(entry, depth + 1)
    else:
        raise CanonicalError("a value that is not in the canonical subset")


def dump(value: object) -> bytes:
    """Write a value of the canonical subset as UTF-8 bytes, without a line end.

    Raises
    ------
    CanonicalError
        If the value holds a float, a lone surrogate, a large integer or anything else outside the subset.
    """
    _check(value)
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise CanonicalError("text that is not Unicode") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise CanonicalError("a key occurs twice")
    return content


def _no_number(_: str) -> Any:
    raise CanonicalError("a number that is not an integer")


def load(data: bytes) -> dict[str, Any]:
    """Read a JSON object that is canonical, byte for byte.

    Raises
    ------
    CanonicalError
        For anything else, without saying what stood there.
    """
    try:
        content = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_float=_no_number, parse_constant=_no_number
        )
    except (ValueError, RecursionError):
        raise CanonicalError("not canonical JSON") from None
    if not isinstance(content, dict) or dump(content) != data:
        raise CanonicalError("not canonical JSON")
    return content


def load_loose(data: bytes) -> dict[str, Any]:
    """Read a JSON object that may hold floats; duplicate keys and NaN are refused all the same.

    Raises
    ------
    CanonicalError
        If it is not such an object.
    """
    try:
        content = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise CanonicalError("not a JSON object") from None
    if not isinstance(content, dict):
        raise CanonicalError("not a JSON object")
    return content


def encode_bytes(data: bytes) -> str:
    """Write bytes as base64 (RFC 4648 section 4, padded, no line breaks)."""
    return b64encode(data).decode("ascii")


def load_bytes(text: object, length: int) -> bytes:
    """Read ``length`` bytes written by :func:`encode_bytes`; any other spelling of the same bytes is refused.

    Raises
    ------
    CanonicalError
        If the text is not the one base64 text of so many bytes.
    """
    if not isinstance(text, str) or len(text) != -(-length // 3) * 4:
        raise CanonicalError("not the base64 text of so many bytes")
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        raise CanonicalError("not base64") from None
    if len(data) != length or encode_bytes(data) != text:
        raise CanonicalError("not the base64 text of so many bytes")
    return data


def pack(*parts: str | bytes) -> bytes:
    """Join parts, each behind its length as four bytes, big-endian; text as UTF-8.

    No two different lists of parts give the same bytes, which is what a key derivation and a signature need.
    """
    joined = bytearray()
    for part in parts:
        data = part.encode("utf-8") if isinstance(part, str) else part
        joined += len(data).to_bytes(4, "big") + data
    return bytes(joined)
