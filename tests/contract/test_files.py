"""Reading contract files: what YAML may say, and how faults are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linkage.contract import load_agreement, load_policy, load_source, load_spec, schemas_folder
from linkage.errors import ContractError

Write = Callable[..., Path]
Good = Callable[[str], dict[str, Any]]
LOADERS: dict[str, Callable[..., Any]] = {
    "source": load_source,
    "spec": load_spec,
    "agreement": load_agreement,
    "policy": load_policy,
}
SENTINEL = "Zzyzx"


def refused(kind: str, path: Path) -> ContractError:
    with pytest.raises(ContractError) as caught:
        LOADERS[kind](path)
    error = caught.value
    assert error.exit_code == 2
    assert str(error).startswith(f"{path}: ")
    assert error.__cause__ is None and error.__suppress_context__
    assert SENTINEL not in " ".join([repr(error), str(error), error.hint or ""]).replace(str(path), "")
    return error


def test_all_shipped_files_are_good_and_belong_together() -> None:
    folder = schemas_folder()
    sources = {path.stem: load_source(path.stem) for path in (folder / "sources").glob("*.yaml")}
    specs = {path.stem: load_spec(path.stem) for path in (folder / "linkage").glob("*.yaml")}
    agreements = {path.stem: load_agreement(path.stem) for path in (folder / "agreements").glob("*.yaml")}
    assert set(sources) == set(agreements) == {"mpd", "dcf", "pohsey", "medical"} == set(load_policy().lists)
    assert {"default", "guarded", "precise"} <= set(specs)
    for name, agreement in agreements.items():
        assert agreement.source == sources[name].source == name
        assert agreement.profile in specs
        assert agreement.project == load_policy().project
        mapped = {*sources[name].identifiers, "birth_date", "suffix", *(["aliases"] if sources[name].aliases else [])}
        assert set(agreement.identifiers) <= mapped
        assert set(agreement.refers_to) <= set(sources)
    for name, spec in specs.items():
        assert spec.name == name
    assert len({spec.digest for spec in specs.values()}) == len(specs)


def test_a_shipped_file_by_name_is_the_file_by_path() -> None:
    assert load_source("mpd") == load_source(schemas_folder() / "sources" / "mpd.yaml")
    with pytest.raises(ContractError) as caught:
        load_source("nobody")
    assert caught.value.reason == "not-found"
    assert caught.value.hint == "known: dcf, medical, mpd, pohsey"


@pytest.mark.parametrize("kind", LOADERS)
def test_a_good_file_of_each_kind(kind: str, good: Good, write: Write) -> None:
    assert LOADERS[kind](write(good(kind))) == LOADERS[kind](write(good(kind), "again.yml"))


@pytest.mark.parametrize("kind", LOADERS)
def test_every_entry_of_a_good_file_that_can_be_wrong_is_named_by_its_path(kind: str, good: Good, write: Write) -> None:
    """Each key in turn gets a value that fits nothing; all of them together are told together."""
    content = good(kind)
    wrong = {key: [[SENTINEL]] for key in content}
    paths = {problem.split(":")[0].split(".")[0] for problem in refused(kind, write(wrong)).problems}
    assert paths == set(content)
    for key in content:
        problems = refused(kind, write(content | {key: [[SENTINEL]]})).problems
        assert {problem.split(":")[0].split(".")[0] for problem in problems} == {key}


@pytest.mark.parametrize("kind", LOADERS)
def test_unknown_and_missing_keys_are_told_together(kind: str, good: Good, write: Write) -> None:
    content = good(kind)
    gone = [key for key in ("title", "project", "bits", "tolerance", "floor") if content.pop(key, None) is not None]
    error = refused(kind, write({**content, "surplus": SENTINEL, "more": {SENTINEL.lower(): SENTINEL}}))
    assert error.reason == "invalid"
    assert f"{len(gone) + 2} faults" in str(error)
    assert set(error.problems) == {f"{key}: Field required" for key in gone} | {
        f"{key}: Extra inputs are not permitted" for key in ("surplus", "more")
    }


@pytest.mark.parametrize("kind", LOADERS)
def test_one_fault_is_one(kind: str, good: Good, write: Write) -> None:
    error = refused(kind, write(good(kind) | {"surplus": SENTINEL}))
    assert str(error).splitlines() == [f"{error.message}", "  - surplus: Extra inputs are not permitted"]
    assert error.message.endswith(": 1 fault")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("agreement: 1\nproject: a\nagreement: 1\n", 1),
        ("scope:\n  a: 1\n  b: 2\n  a: 3\n", 2),
        ("list:\n  - {x: 1, x: 1}\n", 2),
        ("a: 1\n'a': 2\n", 1),
        ('"1": x\n1: y\n', 1),
    ],
    ids=["top", "nested", "flow", "quoted", "number and text"],
)
def test_a_key_that_occurs_twice_is_a_fault(write: Write, text: str, line: int) -> None:
    error = refused("agreement", write(text.replace("x: y", f"x: {SENTINEL}")))
    assert error.reason == "malformed" and f"at line {line}" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "a: [Zzyzx",
        "a: {b: Zzyzx",
        "a: Zzyzx: b",
        "\tZzyzx: 1",
        "a: 'Zzyzx",
        "a: !!python/object/apply:os.system [Zzyzx]",
        "a: !Zzyzx 1",
        "a: *Zzyzx",
        "Zzyzx: \x00",
        "ends: 2026-02-30 # Zzyzx",
        "ends: 2026-01-01 25:00:00 # Zzyzx",
        "a: !!int Zzyzx",
        "a: " + "9" * 5000,
        "[" * 5000,
        "? [Zzyzx]\n: 1",
        "a: 1\n---\nb: Zzyzx",
    ],
    ids=lambda text: text[:24],
)
def test_what_is_not_yaml_is_a_fault_without_its_text(write: Write, text: str) -> None:
    assert refused("source", write(text)).reason == "malformed"


@pytest.mark.parametrize("text", ["", "Zzyzx", "- Zzyzx", "1", "null", "&a [*a]"])
def test_yaml_that_is_no_mapping_is_a_fault(write: Write, text: str) -> None:
    assert len(refused("agreement", write(text)).problems) == 1


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path, good: Good) -> None:
    assert refused("spec", tmp_path / "gone.yaml").reason == "not-found"
    assert refused("spec", tmp_path / "gone" / "gone.yaml").reason == "not-found"
    (tmp_path / "folder.yaml").mkdir()
    assert refused("spec", tmp_path / "folder.yaml").reason == "unreadable"
    path = tmp_path / "latin.yaml"
    path.write_bytes("title: Zzyzxñ".encode("windows-1252"))
    assert refused("spec", path).reason == "malformed"


def test_a_byte_order_mark_is_no_fault(good: Good, tmp_path: Path) -> None:
    path = tmp_path / "windows.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + yaml.safe_dump(good("agreement")).replace("\n", "\r\n").encode())
    assert load_agreement(path).source == "harbor"


# --- booleans ---------------------------------------------------------------------------------------------------------


def test_yes_and_no_are_words(good: Good, write: Write) -> None:
    content = good("source")
    text = yaml.safe_dump({key: value for key, value in content.items() if key not in ("flags", "facts")})
    schema = load_source(
        write(
            text
            + "flags:\n  missing_ever: {column: Ran, yes: [yes, Yes, on, y], no: [no, NO, off, n]}\n"
            + "facts:\n  history_drug: {column: Drug, codes: {yes: victim, no: none, On: witness, OFF: suspect}}\n"
        )
    )
    assert schema.flags["missing_ever"].yes == ("yes", "Yes", "on", "y")
    assert schema.flags["missing_ever"].no == ("no", "NO", "off", "n")
    codes = {"yes": "victim", "no": "none", "On": "witness", "OFF": "suspect"}
    assert schema.facts["history_drug"].codes == codes


@pytest.mark.parametrize(("word", "value"), [("true", True), ("True", True), ("FALSE", False), ("false", False)])
def test_true_and_false_are_booleans(good: Good, write: Write, word: str, value: bool) -> None:
    text = yaml.safe_dump({key: entry for key, entry in good("source").items() if key != "deduplicated"})
    assert load_source(write(f"{text}deduplicated: {word}\n")).deduplicated is value
    codes = text.replace("Zzyzx Springs", word)
    assert codes != text
    assert ".codes." in str(refused("source", write(f"{codes}deduplicated: {word}\n")))


def test_the_yaml_package_itself_is_left_as_it_is() -> None:
    assert yaml.safe_load("[yes, no, on, off, true]") == [True, False, True, False, True]


# --- anything at all --------------------------------------------------------------------------------------------------


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(data=st.data(), kind=st.sampled_from(list(LOADERS)), value=JSON)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_holds_the_answer_is_a_model_or_a_contract_error(
    good: Good, write: Write, data: st.DataObject, kind: str, value: object
) -> None:
    content = good(kind)
    content[data.draw(st.sampled_from([*content, "surplus"]))] = value
    try:
        LOADERS[kind](write(content))
    except ContractError as error:
        assert error.reason in ("invalid", "malformed")
        assert (error.reason == "invalid") == bool(error.problems)


@given(text=st.text("abc:-[]{}'\"&*!#|>%@` \n\t0123456789.~<=", max_size=40))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_is_more_than_a_contract_error(write: Write, text: str) -> None:
    with pytest.raises(ContractError):
        load_agreement(write(text))
