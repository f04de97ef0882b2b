"""JSON Schemas of the contract files, for editors that check YAML and TOML while it is written.

They are made from the models and shipped beside the files: ``python -m linkage.contract.jsonschemas`` writes them anew.
A file that fits its schema can still break a rule that only the model knows; ``linkage`` says so when it reads it.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel

from linkage.contract.agreement import Agreement, ReleasePolicy
from linkage.contract.files import schemas_folder
from linkage.contract.settings import Settings
from linkage.contract.source import SourceSchema
from linkage.contract.spec import LinkageSpec

__all__ = ["MODELS", "json_schema", "write_json_schemas"]

MODELS: dict[str, type[BaseModel]] = {
    "agreement": Agreement,
    "linkage": LinkageSpec,
    "release": ReleasePolicy,
    "settings": Settings,
    "source": SourceSchema,
}
"""Name of the schema file -> model."""


def json_schema(name: str) -> str:
    """Return the JSON Schema (draft 2020-12) of one kind of contract file, as text."""
    content = {"$schema": "https://json-schema.org/draft/2020-12/schema", **MODELS[name].model_json_schema()}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def write_json_schemas(folder: Path | None = None) -> list[Path]:
    """Write all schemas to ``schemas/json``, or to a folder, and return the files."""
    target = Path(folder) if folder is not None else schemas_folder() / "json"
    target.mkdir(parents=True, exist_ok=True)
    paths = [target / f"{name}.json" for name in MODELS]
    for path in paths:
        path.write_text(json_schema(path.stem), encoding="utf-8")
    return paths


if __name__ == "__main__":
    write_json_schemas()
