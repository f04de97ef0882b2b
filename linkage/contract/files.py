"""Read contract files: YAML in, checked models out, all faults of a file reported together."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from linkage.contract.agreement import Agreement, ReleasePolicy
from linkage.contract.source import SourceSchema
from linkage.contract.spec import LinkageSpec
from linkage.errors import NO_SUCH_FILE, ContractError

__all__ = [
    "fault_lines",
    "invalid",
    "load_agreement",
    "load_policy",
    "load_source",
    "load_spec",
    "read_text",
    "schemas_folder",
]

_LARGEST = 1 << 18
"""Bytes; those that are shipped have a hundredth of that."""

Model = TypeVar("Model", bound=BaseModel)


def schemas_folder() -> Path:
    """Return the folder of the shipped contract files: inside the installed package, or at the project's root."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "schemas"
    return inside if inside.is_dir() else package.parent / "schemas"


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe YAML in which a key given twice is a fault, not a silent overwrite, and yes, no, on and off are words.

    YAML 1.1 takes those four for booleans, and with them the keys ``yes`` and ``no`` of a flag and codes such as No.
    Only true and false are booleans here, as in YAML 1.2.
    """


_BOOLEAN = "tag:yaml.org,2002:bool"
_UniqueKeyLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOLEAN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_UniqueKeyLoader.add_implicit_resolver(_BOOLEAN, re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def _unique_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=deep) for key, _ in node.value]
    if len(set(map(str, keys))) < len(keys):
        raise yaml.constructor.ConstructorError(None, None, "a key occurs twice", node.start_mark)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=deep)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def fault_lines(error: ValidationError) -> list[str]:
    """Turn a validation error into one line a fault: where, and which rule; never the offending value.

    A validator may report several faults, joined by "; "; one that begins with a dot names a place inside its own.
    """
    lines = []
    faults = error.errors(include_input=False, include_url=False)
    for fault in faults:
        size = len(fault["loc"])
        if fault["type"] == "too_short" and any(
            len(other["loc"]) > size and other["loc"][:size] == fault["loc"] for other in faults
        ):
            continue  # pydantic counts the entries that are right: a list is not short because its entries are wrong
        place = ".".join(str(part) for part in fault["loc"]) or "file"
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "union_tag_invalid":  # pydantic's own message quotes the value
            message = (
                f"{fault['ctx']['discriminator'].strip(chr(39))}: should be one of {fault['ctx']['expected_tags']}"
            )
        for rule in message.split("; "):
            lines.append(f"{place}{rule}" if rule.startswith(".") else f"{place}: {rule}")
    return lines


def invalid(path: Path, error: ValidationError) -> ContractError:
    """Return the error that tells all faults of a file."""
    problems = fault_lines(error)
    count = f"{len(problems)} fault{'s' if len(problems) > 1 else ''}"
    return ContractError(f"{path}: {count}", reason="invalid", problems=problems)


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Return the text of a contract file; that there is none, or too much, is a fault of its own."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise ContractError(f"{path}: larger than {_LARGEST // 1024} KiB", reason="malformed")
        return io.TextIOWrapper(io.BytesIO(content), encoding=encoding).read()
    except FileNotFoundError:
        raise ContractError(f"{path}: no such file", reason="not-found", hint=NO_SUCH_FILE) from None
    except OSError:
        raise ContractError(
            f"{path}: cannot be read", reason="unreadable", hint="see whether it is a file, and yours to read"
        ) from None
    except UnicodeDecodeError:
        raise ContractError(f"{path}: not UTF-8", reason="malformed") from None


def _load(path: Path, model: type[Model]) -> Model:
    path = Path(path)
    text = read_text(path)
    try:
        content = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    # What looks like a date or number and is none, brackets without end; and what is said to be one by a tag (!!int '',
    # !!bool x, !!timestamp x), which PyYAML takes apart without looking.
    except (ValueError, LookupError, AttributeError, TypeError, OverflowError, RecursionError):
        raise ContractError(
            f"{path}: not well-formed YAML",
            reason="malformed",
            hint="look for a date or a time that does not exist; an entry in quotes is always text",
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise ContractError(f"{path}: not well-formed YAML{where}", reason="malformed") from None
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise invalid(path, error) from None


def _shipped(name_or_path: str | Path, folder: str) -> Path:
    """Resolve a bare name to a shipped file; anything with a suffix or a slash is a path."""
    text = str(name_or_path)
    if "/" in text or "\\" in text or text.endswith((".yaml", ".yml")):
        return Path(name_or_path)
    path = schemas_folder() / folder / f"{text}.yaml"
    if not path.is_file():
        known = sorted(entry.stem for entry in (schemas_folder() / folder).glob("*.yaml"))
        raise ContractError(
            f"no shipped file of that name in schemas/{folder}", reason="not-found", hint=f"known: {', '.join(known)}"
        )
    return path


def load_source(name_or_path: str | Path) -> SourceSchema:
    """Read a source schema: a shipped one by name (``"mpd"``), or any file by path."""
    return _load(_shipped(name_or_path, "sources"), SourceSchema)


def load_spec(name_or_path: str | Path) -> LinkageSpec:
    """Read a linkage spec: a shipped profile by name (``"default"``), or any file by path."""
    return _load(_shipped(name_or_path, "linkage"), LinkageSpec)


def load_agreement(name_or_path: str | Path) -> Agreement:
    """Read an agreement: a shipped example by source name, or any file by path."""
    return _load(_shipped(name_or_path, "agreements"), Agreement)


def load_policy(path: str | Path | None = None) -> ReleasePolicy:
    """Read a release policy; without a path, the shipped one."""
    return _load(Path(path) if path else schemas_folder() / "release.yaml", ReleasePolicy)
