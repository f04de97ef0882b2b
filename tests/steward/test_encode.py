"""The encoder against a slow twin written from its description, and what its bits must and must not say."""

from __future__ import annotations

import hmac
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage.contract import load_spec
from linkage.contract.spec import ConstantFill, LinkageSpec
from linkage.steward import encode as module
from linkage.steward.encode import encode
from linkage.steward.tokens import tokenise

PAD = b"padding key of one agency"


class Key:
    """A key tree of its own for tests: one HMAC a label."""

    def __init__(self, secret: bytes = b"a key") -> None:
        self.secret = secret

    def derive(self, *, spec_digest: str, purpose: str, field: str = "") -> bytes:
        return hmac.digest(self.secret, f"{spec_digest}|{purpose}|{field}".encode(), "sha256")


def make_spec(**changes: Any) -> LinkageSpec:
    content: dict[str, Any] = {
        "linkage_spec": 1,
        "name": "small",
        "title": "For tests",
        "rules": 1,
        "bits": 256,
        "hashing": {"kind": "constant_fill", "fill": 0.42},
        "diffusion": {"bits": 512, "inputs": 3},
        "presence_masks": True,
        "variants": 4,
        "visible_edges": 0.5,
        "fields": {
            "given_name": {"kind": "name"},
            "family_name": {"kind": "name"},
            "birth_date": {"kind": "date"},
            "phone": {"kind": "digits"},
            "street": {"kind": "text"},
            "sex": {"kind": "code"},
        },
        "filters": [
            {
                "name": "names",
                "parts": [
                    {"field": "given_name", "tokens": "bigrams", "weight": 1.5},
                    {"field": "family_name", "tokens": "bigrams", "weight": 1.0},
                    {"field": "family_name", "tokens": "whole", "weight": 0.5},
                    {"field": "birth_date", "tokens": "year", "weight": 0.75},
                ],
            },
            {
                "name": "rest",
                "parts": [
                    {"field": "sex", "tokens": "whole", "weight": 1.0},
                    {"field": "phone", "tokens": "positional", "weight": 0.3},
                    {"field": "birth_date", "tokens": "date", "weight": 1.5},
                    {"field": "street", "tokens": "bigrams", "weight": 0.2},
                ],
            },
        ],
    }
    return LinkageSpec.model_validate(content | changes)


CONSTANT = make_spec()
FIXED = make_spec(name="fixed", hashing={"kind": "fixed_hashes", "hashes": 7.5}, bits=512, presence_masks=False)
FULL = make_spec(bits=1024, diffusion={"bits": 2048, "inputs": 4}, presence_masks=False)
"""As large as the shipped profiles, for measures that need many bits."""


# --- the twin ---------------------------------------------------------------------------------------------------------


def positions(key: bytes, message: bytes, count: int, bits: int, output: int | None = None) -> list[int]:
    """The first positions of a stream: HMAC-SHA-256 of block number and message, cut into big-endian 16-bit numbers.

    The message is a token or, for diffusion, the number of the output bit, which stands before the block number.
    """
    before = b"" if output is None else output.to_bytes(4, "big")
    found: list[int] = []
    block = 0
    while len(found) < count:
        digest = hmac.digest(key, before + block.to_bytes(4, "big") + message, "sha256")
        found += [int.from_bytes(digest[at : at + 2], "big") % bits for at in range(0, 32, 2)]
        block += 1
    return found[:count]


def values_of(row: dict[str, Any], field: str) -> list[str]:
    value = row.get(field)
    several = value if isinstance(value, list) else [value]
    return list(dict.fromkeys(entry for entry in several if entry))


def plain_filter(row: dict[str, Any], entry: Any, spec: LinkageSpec, key: Key) -> set[int]:
    """Positions that are set before diffusion."""
    weight = 0.0
    for part in entry.parts:
        for value in values_of(row, part.field):
            weight += len(tokenise(value, part.tokens)) * part.weight
    if weight == 0:
        return set()
    if spec.hashing.kind == "constant_fill":
        hashes = -math.log1p(-spec.hashing.fill) * spec.bits / weight
    else:
        hashes = spec.hashing.hashes
    found: set[int] = set()
    for part in entry.parts:
        is_name = spec.fields[part.field].kind == "name" and part.tokens == "bigrams"
        tag = "name/bigrams" if is_name else f"{part.field}/{part.tokens}"
        secret = key.derive(spec_digest=spec.digest, purpose="filter", field=f"{entry.name}/{tag}")
        for value in values_of(row, part.field):
            for token in tokenise(value, part.tokens):
                found |= set(positions(secret, token.encode(), max(1, round(hashes * part.weight)), spec.bits))
    return found


DRAWN: dict[tuple[str, str, bytes], list[list[int]]] = {}


def inputs_of(entry: Any, spec: LinkageSpec, key: Key) -> list[list[int]]:
    """The input positions of every output bit: the first distinct numbers of a stream of its own."""
    name = (spec.digest, entry.name, key.secret)
    if name not in DRAWN:
        secret = key.derive(spec_digest=spec.digest, purpose="diffusion", field=entry.name)
        streams = (positions(secret, b"", 48, spec.bits, output) for output in range(spec.diffusion.bits))
        DRAWN[name] = [list(dict.fromkeys(stream))[: spec.diffusion.inputs] for stream in streams]
    return DRAWN[name]


def twin(rows: Sequence[dict[str, Any]], spec: LinkageSpec, key: Key, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Encode by sets and XOR, one record and bit at a time."""
    result: list[dict[str, Any]] = [{} for _ in rows]
    for entry in spec.filters:
        sets = inputs_of(entry, spec, key)
        fields = list(dict.fromkeys(part.field for part in entry.parts))
        for row, label, out in zip(rows, labels, result, strict=True):
            mask = sum(1 << place for place, field in enumerate(fields) if values_of(row, field))
            if mask:
                set_bits = plain_filter(row, entry, spec, key)
                number = 0
                for output, chosen in enumerate(sets):
                    number |= (sum(position in set_bits for position in chosen) % 2) << output
                out[entry.name] = number.to_bytes(spec.diffusion.bits // 8, "little")
            else:
                epoch = key.derive(spec_digest=spec.digest, purpose="padding", field=entry.name)
                secret = hmac.digest(PAD, epoch, "sha256")
                number = 0
                for output in range(spec.diffusion.bits):
                    block = (output // 16).to_bytes(4, "big")
                    drawn = hmac.digest(secret, block + label.encode(), "sha256")[output % 16 * 2 : output % 16 * 2 + 2]
                    fill = spec.hashing.fill if isinstance(spec.hashing, ConstantFill) else 0.5
                    ones = (1 - (1 - 2 * fill) ** spec.diffusion.inputs) / 2
                    number |= (int.from_bytes(drawn, "little") < round(ones * 65536)) << output
                out[entry.name] = number.to_bytes(spec.diffusion.bits // 8, "little")
            if spec.presence_masks:
                out[f"{entry.name}_mask"] = mask
    return result


def frame_of(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    kinds = {"phone": pl.List(pl.String), "street": pl.List(pl.String)}
    columns = {
        name: pl.Series([row.get(name) for row in rows], dtype=kinds.get(name, pl.String)) for name in CONSTANT.fields
    }
    return pl.DataFrame(columns).with_columns(surplus=pl.lit("is ignored"))


def encoded(
    rows: Sequence[dict[str, Any]], spec: LinkageSpec, key: Key | None = None, labels: Sequence[str] | None = None
) -> pl.DataFrame:
    labels = labels or [str(place) for place in range(len(rows))]
    return encode(frame_of(rows), spec, key or Key(), labels=labels, padding_key=PAD)


def share(one: bytes, other: bytes) -> float:
    """Hamming distance as a share of the bits."""
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count() / (8 * len(one))


NAMES = st.one_of(st.none(), st.text("ABN", min_size=1, max_size=6))
DATES = st.one_of(st.none(), st.sampled_from(["1999", "199903", "19990312", "19991203", "20010101"]))
DIGITS = st.text("0123456789", min_size=1, max_size=12)
RECORD = st.fixed_dictionaries(
    {
        "given_name": NAMES,
        "family_name": NAMES,
        "birth_date": DATES,
        "phone": st.one_of(st.none(), st.lists(DIGITS, max_size=3)),
        "street": st.one_of(st.none(), st.lists(st.sampled_from(["12 N WATER ST", "12 N WATER", "RUE"]), max_size=2)),
        "sex": st.sampled_from([None, "F", "M"]),
    }
)


@pytest.mark.parametrize("spec", [CONSTANT, FIXED], ids=["constant fill", "fixed hashes"])
@given(rows=st.lists(RECORD, min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_bit_for_bit_as_its_twin(spec: LinkageSpec, rows: list[dict[str, Any]]) -> None:
    labels = [f"label {place}" for place in range(len(rows))]
    assert encoded(rows, spec, labels=labels).to_dicts() == twin(rows, spec, Key(), labels)


ALICE = {
    "given_name": "ALICIA",
    "family_name": "HERNANDEZ",
    "birth_date": "19990312",
    "phone": ["4142721111", "4142729999"],
    "street": ["1200 N WATER ST"],
    "sex": "F",
}
STRANGER = {
    "given_name": "ROBERT",
    "family_name": "KOWALSKI",
    "birth_date": "20010728",
    "phone": ["2625550000"],
    "street": ["7 OAK CT"],
    "sex": "M",
}
SOME = [ALICE, {}, STRANGER, {"given_name": "ALICIA", "family_name": "ALI"}, {"sex": "F"}, {"phone": ["1", "12"]}]


@pytest.mark.parametrize(
    "spec",
    [
        CONSTANT,
        FIXED,
        make_spec(diffusion={"bits": 512, "inputs": 1}),
        make_spec(bits=4096, diffusion={"bits": 512, "inputs": 20}),
        make_spec(diffusion={"bits": 2048, "inputs": 5}, hashing={"kind": "fixed_hashes", "hashes": 200}),
        make_spec(filters=[{"name": "only", "parts": [{"field": "sex", "tokens": "whole", "weight": 16}]}]),
    ],
    ids=["constant", "fixed", "one input", "20 inputs", "many bits and hashes", "one part"],
)
def test_specs_of_all_shapes_are_as_their_twin(spec: LinkageSpec) -> None:
    labels = [f"label {place}" for place in range(len(SOME))]
    made = encoded(SOME, spec, labels=labels)
    assert made.to_dicts() == twin(SOME, spec, Key(), labels)
    assert made.columns == list(twin(SOME, spec, Key(), labels)[0])
    assert {name: kind for name, kind in made.schema.items() if kind == pl.UInt16}.keys() == (
        {f"{entry.name}_mask" for entry in spec.filters} if spec.presence_masks else set()
    )


@pytest.mark.parametrize("several", [1, 3, 64, 65])
@pytest.mark.parametrize("name", ["_CHUNK", "_SLAB"])
def test_how_many_records_are_worked_on_at_once_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, name: str, several: int
) -> None:
    rows = SOME * 25
    labels = [str(place % len(SOME)) for place in range(len(rows))]
    whole = encoded(rows, CONSTANT, labels=labels)
    assert whole.height == len(rows) and whole[: len(SOME)].equals(whole[-len(SOME) :])
    monkeypatch.setattr(module, name, several)
    assert encoded(rows, CONSTANT, labels=labels).equals(whole)


@pytest.mark.parametrize("alike", [[0], [0, 1, 2]])
def test_values_that_are_hashed_alike_are_not_taken_for_the_same(
    monkeypatch: pytest.MonkeyPatch, alike: list[int]
) -> None:
    usual, hashed = encoded(SOME, CONSTANT), pl.Series.hash
    monkeypatch.setattr(
        pl.Series, "hash", lambda values, seed: hashed(values, seed) // 2 ** (62 if seed in alike else 0)
    )
    assert encoded(SOME, CONSTANT).equals(usual)


def test_no_records_are_an_empty_frame_with_all_columns() -> None:
    assert encoded([], CONSTANT).schema == encoded([ALICE], CONSTANT).schema
    assert encoded([], CONSTANT).height == 0
    nothing = encode(pl.DataFrame(), CONSTANT, Key(), labels=[], padding_key=PAD)
    assert nothing.schema == encoded([], CONSTANT).schema and nothing.height == 0


@pytest.mark.parametrize("spec", [CONSTANT, FIXED], ids=["constant fill", "fixed hashes"])
@pytest.mark.parametrize("row", [ALICE, {}, {"sex": "F"}, {"given_name": "A"}], ids=["all", "none", "rest", "names"])
def test_a_file_of_one_record_is_as_its_twin(spec: LinkageSpec, row: dict[str, Any]) -> None:
    assert encoded([row], spec).to_dicts() == twin([row], spec, Key(), ["0"])


@pytest.mark.parametrize("kind", [pl.Null, pl.String, pl.List(pl.String)], ids=["null", "string", "list"])
def test_a_filter_that_is_empty_in_all_records_is_padded_and_the_other_one_is_not(kind: pl.DataType) -> None:
    rows = [{"sex": "F"}, {"sex": "M"}, {"sex": "F", "street": ["12 N WATER ST"]}]
    empty = {name: pl.Series([None] * 3, dtype=kind) for name in ("given_name", "family_name", "birth_date")}
    made = encode(frame_of(rows).with_columns(**empty), CONSTANT, Key(), labels=["a", "b", "c"], padding_key=PAD)
    assert made.to_dicts() == twin(rows, CONSTANT, Key(), ["a", "b", "c"])
    assert made["names_mask"].to_list() == [0, 0, 0] and made["names"].n_unique() == 3


# --- what must agree and what must not --------------------------------------------------------------------------------


def test_a_record_is_encoded_alike_whoever_else_is_in_the_file() -> None:
    alone = encoded([ALICE], CONSTANT)
    for others in ([STRANGER], SOME[1:], [{"given_name": "A" * 40}] * 70):
        assert encoded([*others, ALICE], CONSTANT)[-1].equals(alone)


def test_scalar_and_list_columns_agree() -> None:
    scalar = pl.DataFrame({"given_name": ["ANNA"], "phone": ["4142721111"]})
    lists = pl.DataFrame({"given_name": [["ANNA"]], "phone": [["4142721111", "4142721111"]]})
    made = [encode(frame, CONSTANT, Key(), labels=["x"], padding_key=PAD) for frame in (scalar, lists)]
    assert made[0].equals(made[1])


def test_the_order_of_several_values_says_nothing() -> None:
    backwards = ALICE | {"phone": ALICE["phone"][::-1]}
    assert encoded([ALICE], CONSTANT).equals(encoded([backwards], CONSTANT))


@pytest.mark.parametrize("spec", [FULL, make_spec(bits=1024, diffusion={"bits": 2048, "inputs": 4}, name="other")])
def test_another_key_gives_unrelated_bits(spec: LinkageSpec) -> None:
    one, other = encoded([ALICE], spec, Key(b"one")), encoded([ALICE], spec, Key(b"other"))
    for entry in spec.filters:
        assert 0.45 < share(one[entry.name][0], other[entry.name][0]) < 0.55


def test_another_spec_by_name_alone_gives_unrelated_bits() -> None:
    one, other = encoded([ALICE], FULL), encoded([ALICE], FULL.model_copy(update={"name": "large"}))
    same = encoded([ALICE], FULL.model_copy(update={"title": "Titles are for people"}))
    for entry in FULL.filters:
        assert 0.45 < share(one[entry.name][0], other[entry.name][0]) < 0.55
        assert one[entry.name][0] == same[entry.name][0]


def test_filters_of_the_same_make_and_fields_of_the_same_value_have_keys_of_their_own() -> None:
    part = {"tokens": "whole", "weight": 1.0}
    spec = make_spec(
        bits=1024,
        diffusion={"bits": 2048, "inputs": 2},
        presence_masks=False,
        filters=[
            {"name": "one", "parts": [{"field": "street", **part}]},
            {"name": "two", "parts": [{"field": "street", **part}]},
            {"name": "three", "parts": [{"field": "phone", **part}]},
        ],
    )
    made = encoded([{"street": ["4142721111"], "phone": ["4142721111"]}], spec).row(0)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert 0.45 < share(made[first], made[second]) < 0.55


def test_the_diffusion_of_two_filters_differs() -> None:
    """Hashing aside: were input positions the same, filters with the same bits set would come out the same."""
    spec = FULL
    sets = [
        module._diffusion_sets(Key().derive(spec_digest=spec.digest, purpose="diffusion", field=entry.name), spec)
        for entry in spec.filters
    ]
    assert (sets[0] == sets[1]).mean() < 0.01
    for chosen in sets:
        assert chosen.min() >= 0 and chosen.max() < spec.bits
        assert all(len(set(row)) == spec.diffusion.inputs for row in chosen.tolist())


# --- missing fields and empty filters ---------------------------------------------------------------------------------


def test_missing_is_missing_in_whatever_form() -> None:
    rows = {
        "null": pl.DataFrame({"given_name": ["ANNA"], "phone": pl.Series([None], dtype=pl.List(pl.String))}),
        "empty list": pl.DataFrame({"given_name": ["ANNA"], "phone": pl.Series([[]], dtype=pl.List(pl.String))}),
        "list of null": pl.DataFrame({"given_name": ["ANNA"], "phone": pl.Series([[None]], dtype=pl.List(pl.String))}),
        "list of nothing": pl.DataFrame({"given_name": ["ANNA"], "phone": pl.Series([[""]], dtype=pl.List(pl.String))}),
        "nothing": pl.DataFrame({"given_name": ["ANNA"], "phone": [""]}),
        "no column": pl.DataFrame({"given_name": ["ANNA"]}),
    }
    made = {
        name: encode(frame, CONSTANT, Key(), labels=["x"], padding_key=PAD).to_dicts() for name, frame in rows.items()
    }
    for name, result in made.items():
        assert result == made["no column"], name
    assert made["no column"][0]["rest_mask"] == 0
    assert made["no column"][0]["names_mask"] == 1


def test_a_mask_says_which_fields_are_filled_and_counts_a_field_once() -> None:
    made = encoded([ALICE, {"family_name": "X", "street": ["A"]}, {}], CONSTANT)
    assert made["names_mask"].to_list() == [0b111, 0b010, 0]  # given, family (cut twice), birth
    assert made["rest_mask"].to_list() == [0b1111, 0b1000, 0]  # sex, phone, birth, street


def padding(label: str = "p", *, pad: bytes = PAD, key: Key | None = None, spec: LinkageSpec = FULL) -> tuple[Any, ...]:
    made = encode(pl.DataFrame({"x": ["y"]}), spec, key or Key(), labels=[label], padding_key=pad)
    return made.select(entry.name for entry in spec.filters).row(0)


@pytest.mark.parametrize("profile", ["default", "guarded"])
def test_the_padding_has_as_many_ones_as_a_full_filter(profile: str) -> None:
    spec = load_spec(profile)
    number = 300
    rng = np.random.default_rng(4)
    names = ["".join(rng.choice(list("ABCDEFGHIKLMNORSTU"), rng.integers(4, 11))) for _ in range(number)]
    full = pl.DataFrame({"given_name": names, "family_name": names[::-1], "birth_date": ["19990312"] * number})
    labels = [str(row) for row in range(number)]
    made = [encode(frame, spec, Key(), labels=labels, padding_key=PAD) for frame in (full, pl.DataFrame({"x": names}))]
    for entry in spec.filters:
        ones = [[int.from_bytes(content, "little").bit_count() for content in one[entry.name]] for one in made]
        spread = np.sqrt((np.var(ones[0]) + np.var(ones[1])) / number)
        # What hashes leave of the fill by chance is the same for all: half a bit in a hundred is no tell-tale.
        assert abs(np.mean(ones[0]) - np.mean(ones[1])) < 3 * spread + 0.002 * spec.diffusion.bits


def test_the_padding_of_an_empty_filter_is_stable_and_looks_half_full() -> None:
    assert padding() == padding()
    for content in padding():
        assert len(content) == FULL.diffusion.bits // 8
        assert 0.45 < share(content, bytes(len(content))) < 0.55


@pytest.mark.parametrize(
    "changed",
    [
        {"label": "q"},
        {"label": ""},
        {"pad": b"another agency"},
        {"key": Key(b"another epoch")},
        {"spec": FULL.model_copy(update={"name": "large"})},
    ],
    ids=["label", "no label", "padding key", "linkage key", "spec"],
)
def test_the_padding_is_another_for_another_person_agency_epoch_or_spec(changed: dict[str, Any]) -> None:
    """Were it the same across epochs, it would be all that stays when the key changes, and show what is empty."""
    for one, other in zip(padding(), padding(**changed), strict=True):
        assert 0.45 < share(one, other) < 0.55


def test_the_padding_of_two_filters_differs() -> None:
    one, other = padding()
    assert 0.45 < share(one, other) < 0.55


def test_a_full_filter_does_not_depend_on_label_or_padding_key() -> None:
    one = encode(frame_of([ALICE]), CONSTANT, Key(), labels=["a"], padding_key=b"a")
    assert one.equals(encode(frame_of([ALICE]), CONSTANT, Key(), labels=["b"], padding_key=b"b"))


# --- fill -------------------------------------------------------------------------------------------------------------


def undiffused(spec: LinkageSpec, monkeypatch: pytest.MonkeyPatch) -> LinkageSpec:
    """Make the encoder give its filters as they are before diffusion."""
    monkeypatch.setattr(module, "diffuse", lambda plain, _, out: np.copyto(out, plain))
    return spec.model_copy(
        update={"diffusion": spec.diffusion.model_copy(update={"bits": spec.bits}), "presence_masks": False}
    )


@pytest.mark.parametrize("fill", [0.2, 0.42])
def test_constant_fill_is_near_its_target_whatever_the_number_of_tokens(
    monkeypatch: pytest.MonkeyPatch, fill: float
) -> None:
    spec = undiffused(make_spec(bits=1024, hashing={"kind": "constant_fill", "fill": fill}), monkeypatch)
    long = ALICE | {"street": ["1200 N WATER ST MILWAUKEE", "99 S KINNICKINNIC AVE"], "family_name": "GARCIALOPEZRUIZ"}
    rows = [ALICE, STRANGER, {"sex": "F", "given_name": "A"}, {"birth_date": "1999", "given_name": "AL"}, long]
    made = encoded(rows, spec)
    for entry in spec.filters:
        for content in made[entry.name].to_list():
            assert share(content, bytes(len(content))) == pytest.approx(fill, abs=0.06)


def test_with_fixed_hashes_the_fill_grows_with_the_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = undiffused(make_spec(bits=1024, hashing={"kind": "fixed_hashes", "hashes": 10}), monkeypatch)
    made = encoded([{"given_name": "AL"}, {"given_name": "ALEXANDRIANA"}], spec)["names"].to_list()
    fills = [share(content, bytes(len(content))) for content in made]
    assert fills[0] == pytest.approx(1 - math.exp(-3 * 15 / 1024), abs=0.01)
    assert fills[1] > 3 * fills[0]


def test_more_hashes_of_a_token_hold_the_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    few = undiffused(make_spec(hashing={"kind": "fixed_hashes", "hashes": 3}), monkeypatch)
    many = few.model_copy(update={"hashing": few.hashing.model_copy(update={"hashes": 40.0})})
    key = type("Flat", (Key,), {"derive": lambda self, *, spec_digest, purpose, field="": field.encode() * 8})()
    small, large = (int.from_bytes(encoded([ALICE], spec, key)["names"][0], "little") for spec in (few, many))
    assert small & large == small != large


# --- likeness ---------------------------------------------------------------------------------------------------------


def distances(one: dict[str, Any], other: dict[str, Any], spec: LinkageSpec = FULL) -> dict[str, float]:
    made = encoded([one, other], spec)
    return {entry.name: share(*made[entry.name].to_list()) for entry in spec.filters}


@pytest.mark.parametrize(
    ("change", "filter_name"),
    [
        ({"given_name": "ALICJA"}, "names"),
        ({"family_name": "HERNANDES"}, "names"),
        ({"given_name": "HERNANDEZ", "family_name": "ALICIA"}, "names"),
        ({"birth_date": "19990313"}, "rest"),
        ({"birth_date": "19991203"}, "rest"),
        ({"birth_date": "1999"}, "rest"),
        ({"phone": ["4142721111"]}, "rest"),
        ({"street": ["1200 N WATTER ST"]}, "rest"),
        ({"sex": None}, "rest"),
    ],
    ids=["typo", "typo at the end", "swapped names", "day", "day and month swapped", "year", "phone", "street", "sex"],
)
def test_one_error_is_much_nearer_than_a_stranger(change: dict[str, Any], filter_name: str) -> None:
    assert distances(ALICE, STRANGER)[filter_name] > 0.44
    assert distances(ALICE, ALICE | change)[filter_name] < 0.41


def test_swapped_names_are_alike_only_where_names_share_their_tokens() -> None:
    bigrams = [{"field": name, "tokens": "bigrams", "weight": 1.0} for name in ("given_name", "family_name")]
    spec = make_spec(presence_masks=False, filters=[{"name": "names", "parts": bigrams}])
    swapped = {"given_name": "HERNANDEZ", "family_name": "ALICIA"}
    assert distances(ALICE, swapped, spec) == {"names": 0}
    whole = [part | {"tokens": "whole"} for part in bigrams]
    apart = make_spec(bits=1024, presence_masks=False, filters=[{"name": "names", "parts": whole}])
    assert distances(ALICE, swapped, apart)["names"] > 0.4


def test_a_swapped_day_and_month_is_nearer_than_another_day_and_month() -> None:
    swapped = distances(ALICE, ALICE | {"birth_date": "19991203"})["rest"]
    assert swapped < distances(ALICE, ALICE | {"birth_date": "19990728"})["rest"]


def test_bits_of_different_people_are_balanced() -> None:
    """Diffusion leaves no output bit that says much alone: over many people each is set about half of the time."""
    rng = np.random.default_rng(1)
    letters = rng.integers(65, 91, (600, 9), dtype=np.uint8)
    rows = [{"given_name": bytes(row[:5]).decode(), "family_name": bytes(row).decode()} for row in letters]
    contents = encoded(rows, FULL)["names"].to_list()
    bits = np.unpackbits(np.frombuffer(b"".join(contents), np.uint8).reshape(600, -1), axis=1)
    assert abs(bits.mean() - 0.5) < 0.01
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.15
