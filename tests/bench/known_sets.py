"""The labelled sets that F1 is measured on: their fields, our specs for them, and how a peer that must block blocks."""

from __future__ import annotations

from dataclasses import dataclass, field

FEBRL: dict[str, str] = {
    "given_name": "name",
    "surname": "name",
    "street_number": "digits",
    "address_1": "text",
    "suburb": "text",
    "postcode": "digits",
    "state": "code",
    "date_of_birth": "date",
}
_FEBRL_BLOCKS = (
    ("given_name", "surname"),
    ("date_of_birth",),
    ("surname", "postcode"),
    ("given_name", "postcode"),
    ("street_number", "address_1"),
    ("surname", "suburb"),
    ("given_name", "suburb"),
    ("postcode", "street_number"),
    ("address_1", "suburb"),
    ("substr(date_of_birth, 1, 4)", "substr(surname, 1, 3)"),
    ("substr(date_of_birth, 5, 4)", "substr(given_name, 1, 3)"),
)


@dataclass(frozen=True)
class LabelledSet:
    """A labelled set.

    Attributes
    ----------
    fields
        Column -> kind.
    specs
        Names of the three profiles' specs, ``{profile}`` standing for the profile.
    blocks
        Rules of a peer that has to block, in SQL: pairs that agree on all entries of any rule are compared.
    train
        The two rules on whose blocks such a peer learns.
    repeats
        Sources in which a person can have several records.
    """

    fields: dict[str, str]
    specs: str
    blocks: tuple[tuple[str, ...], ...]
    train: tuple[tuple[str, ...], tuple[str, ...]]
    repeats: tuple[str, ...] = field(default=())


SETS = {
    "febrl4": LabelledSet(
        FEBRL, "linkage/examples/febrl4_{profile}.yaml", _FEBRL_BLOCKS, (("date_of_birth",), ("given_name", "surname"))
    ),
    # Unlike FEBRL4, one source with up to six records of a person. No spec of its own: the fields are FEBRL4's.
    "febrl3": LabelledSet(
        FEBRL,
        "linkage/examples/febrl4_{profile}.yaml",
        _FEBRL_BLOCKS,
        (("date_of_birth",), ("given_name", "surname")),
        repeats=("a",),
    ),
    "hist3": LabelledSet(
        {
            "first_name": "name",
            "surname": "name",
            "dob": "date",
            "birth_place": "text",
            "postcode_fake": "code",
            "gender": "code",
            "occupation": "text",
        },
        "linkage/examples/hist3_{profile}.yaml",
        (
            # As in Splink's tutorial on the file that hist3 is made of.
            ("substr(first_name, 1, 3)", "substr(surname, 1, 4)"),
            ("surname", "dob"),
            ("first_name", "dob"),
            ("postcode_fake", "first_name"),
            ("postcode_fake", "surname"),
            ("dob", "birth_place"),
            ("substr(postcode_fake, 1, 3)", "dob"),
            ("substr(postcode_fake, 1, 3)", "first_name"),
            ("substr(postcode_fake, 1, 3)", "surname"),
            ("substr(first_name, 1, 2)", "substr(surname, 1, 2)", "substr(dob, 1, 4)"),
        ),
        (("first_name", "surname"), ("dob",)),
    ),
    "population": LabelledSet(
        {
            "given_name": "name",
            "middle_name": "name",
            "family_name": "name",
            "birth_date": "date",
            "sex": "code",
            "ssn4": "digits",
            "phone": "digits",
            "street": "text",
            "postal_code": "digits",
        },
        "{profile}",
        (
            ("given_name", "family_name"),
            ("birth_date",),
            ("family_name", "postal_code"),
            ("given_name", "postal_code"),
            ("phone",),
            ("ssn4",),
            ("street",),
        ),
        (("birth_date",), ("given_name", "family_name")),
    ),
    "million": LabelledSet(
        {
            "given_name": "name",
            "family_name": "name",
            "sex": "code",
            "birth_date": "date",
            "postal_code": "digits",
            "phone": "digits",
        },
        "{profile}",
        (("family_name", "birth_date"), ("given_name", "postal_code"), ("phone",)),
        (("family_name", "birth_date"), ("phone",)),
    ),
}
