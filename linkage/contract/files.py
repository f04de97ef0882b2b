"""Read contract files: YAML in, checked models out, all faults of a file reported together."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from linkage.contract.agreement import Agreement, ReleasePolicy
from linkage.contract.source import SourceSchema
from linkage.contract.spec import LinkageSpec
from linkage.errors import ContractError

__all__ = ["fault_lines", "load_agreement", "load_policy", "load_source", "load_spec", "schemas_folder"]

Model = TypeVar("Model", bound=BaseModel)


def schemas_folder() -> Path:
    """Return the folder of the shipped contract files: inside the installed package, or at the project's root."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "schemas"
    return inside if inside.is_dir() else package.parent / "schemas"


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe YAML in which a key given twice is a fault, not a silent overwrite."""


def _unique_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=deep) for key, _ in node.value]
    if len(set(map(str, keys))) < len(keys):
        raise yaml.constructor.ConstructorError(None, None, "a key occurs twice", node.start_mark)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=deep)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def fault_lines(error: ValidationError) -> list[str]:
    """Turn a validation error into one line a fault: where, and which rule; never the offending value."""
    lines = []
    for fault in error.errors(include_input=False, include_url=False, include_context=False):
        place = ".".join(str(part) for part in fault["loc"]) or "file"
        for rule in fault["msg"].removeprefix("Value error, ").split("; "):
            lines.append(f"{place}: {rule}")
    return lines


def _load(path: Path, model: type[Model]) -> Model:
    path = Path(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except FileNotFoundError:
        raise ContractError(f"{path}: no such file", reason="not-found") from None
    except UnicodeDecodeError:
        raise ContractError(f"{path}: not UTF-8", reason="malformed") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise ContractError(f"{path}: not well-formed YAML{where}", reason="malformed") from None
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems = fault_lines(error)
        count = f"{len(problems)} fault{'s' if len(problems) > 1 else ''}"
        raise ContractError(f"{path}: {count}", reason="invalid", problems=problems) from None


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
