"""The shipped JSON Schemas are those of the models, and fit the shipped files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from linkage.contract.files import schemas_folder
from linkage.contract.jsonschemas import MODELS, json_schema, write_json_schemas

jsonschema = pytest.importorskip("jsonschema", reason="the hub's install brings jsonschema; an agency's has none")


def _plain(content: Any) -> Any:
    """Return YAML's content as JSON has it: dates are text, lists are lists."""
    return json.loads(json.dumps(content, default=lambda value: value.isoformat()))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_shipped_schema_is_the_models(name: str) -> None:
    shipped = (schemas_folder() / "json" / f"{name}.json").read_text(encoding="utf-8")
    assert shipped == json_schema(name), "run: python -m linkage.contract.jsonschemas"


def test_no_schema_is_left_over() -> None:
    assert {path.stem for path in (schemas_folder() / "json").glob("*.json")} == set(MODELS)


def test_all_are_written_to_a_folder(tmp_path: Path) -> None:
    paths = write_json_schemas(tmp_path / "json")
    assert {path.name for path in paths} == {f"{name}.json" for name in MODELS}
    for path in paths:
        jsonschema.Draft202012Validator.check_schema(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("agreement", "agreements/*.yaml"),
        ("linkage", "linkage/*.yaml"),
        ("source", "sources/*.yaml"),
        ("release", "release.yaml"),
    ],
)
def test_shipped_files_fit_and_a_wrong_one_does_not(name: str, files: str) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(json_schema(name)))
    paths = sorted(schemas_folder().glob(files))
    assert paths
    for path in paths:
        content = _plain(yaml.safe_load(path.read_text(encoding="utf-8")))
        validator.validate(content)
        assert not validator.is_valid(content | {"surplus": 1})
        assert not validator.is_valid(
            {key: value for key, value in content.items() if key != "project" and key != "title"}
        )


def test_a_date_is_text_in_the_schema() -> None:
    agreement = json.loads(json_schema("agreement"))
    assert agreement["properties"]["ends"]["format"] == "date"
