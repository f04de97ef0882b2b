"""Names: frequency tables of the package Faker, mixed by race, with a long tail; and the table of nicknames.

The US tables hold the thousand commonest surnames, which two fifths of people bear. Sampling from them alone would
make namesakes more than twice as frequent as they are, so the rest of the mass goes to the tables of the countries
that Milwaukee's families came from. Ranks within an unweighted table are fixed by a constant seed.
"""

from __future__ import annotations

import importlib
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache

import numpy as np

from linkage.errors import LinkageError
from linkage.lab.population.sampling import Floats, Texts

__all__ = ["NICKNAMES", "fold", "given_names", "name_table", "nickname_of", "street_names", "surnames", "usable"]

_HMONG_CLANS = "Vang Yang Xiong Lee Thao Vue Her Moua Lor Hang Cha Kue Chang Khang Kong Cheng Pha Fang"
_STREET_NAMES = "Angel Candy China Cinnamon Coco Cookie Diamond Dream Honey Ivory Kitty Lexus Lucky Mercedes Peaches \
Precious Princess Red Star Sugar Sunshine Tasty Tiny".split()

_NICKNAME_LINES = """
Abigail Abby; Alexandra Alex Lexi; Alexandria Alex Lexi; Alexis Lexi Alex; Alicia Ali; Allison Allie; Alyssa Aly
Amanda Mandy; Andrea Andi; Angela Angie; Angelica Angie; Annette Annie; Ashley Ash; Barbara Barb; Bethany Beth
Brittany Britt; Brittney Britt; Carolyn Carol; Cassandra Cassie; Catherine Cathy Cat; Charlotte Charlie; Cheyenne Chey
Christina Chris Tina; Christine Chris Chrissy; Crystal Crys; Cynthia Cindy; Danielle Dani; Deanna Dee; Deborah Deb
Debra Deb; Denise Niecy; Desiree Desi; Destiny Des; Diana Di; Dominique Nikki; Ebony Eb; Elizabeth Liz Beth Lizzy
Emily Em; Erica Ricki; Felicia Fee; Gabriela Gaby; Gabrielle Gabby; Heather Heath; Isabella Bella; Jacqueline Jackie
Jamie Jay; Janet Jan; Janice Jan; Jasmine Jazz Jas; Jennifer Jen Jenny; Jessica Jess Jessie; Jillian Jill
Jordan Jo; Joanna Jo; Judith Judy; Julia Julie; Kaitlyn Kate; Kathleen Kathy; Katherine Kate Kathy Katie
Kathryn Kate Kathy; Katelyn Kate; Katrina Trina; Kayla Kay; Kelsey Kels; Kendra Ken; Kimberly Kim; Kristen Kris
Kristin Kris; Kristina Kris Tina; Kristine Kris; Latasha Tasha; Latoya Toya; Laura Laurie; Lauren Laurie; Leslie Les
Lindsay Lin; Lindsey Lin; Mackenzie Kenzie; Madeline Maddie; Madison Maddie; Makayla Kay; Margaret Maggie Peggy
Maria Mia; Mariah Riah; Marissa Rissa; Mary Molly; Megan Meg; Melanie Mel; Melinda Mindy; Melissa Missy Mel
Mercedes Mercy; Meredith Mere; Michaela Mickey; Michelle Shelly; Miranda Randi; Monica Moni; Monique Mo; Natalie Nat
Natasha Tasha; Nancy Nan; Nicole Nikki; Olivia Liv; Pamela Pam; Patricia Pat Trish; Patty Pat; Precious Presh
Priscilla Cilla; Rachel Rae; Rebecca Becky Becca; Robin Rob; Rose Rosie; Sabrina Brina; Samantha Sam Sammy; Sandra Sandy
Sara Sadie; Sarah Sadie; Shannon Shan; Sharon Shari; Shelby Shel; Sierra Ci; Stacey Stace; Stephanie Steph; Susan Sue
Susan Suzy; Suzanne Sue; Tabitha Tabby; Tamara Tammy; Tammy Tam; Tanya Tan; Tara Tay; Taylor Tay; Teresa Terri Tess
Theresa Terri Tess; Tiffany Tiff; Tracy Trace; Valerie Val; Vanessa Nessa; Veronica Ronnie; Victoria Vicky Tori
Virginia Ginny; Vivian Viv; Whitney Whit; Yolanda Yoli; Yvonne Vonnie; Kelly Kel; Lisa Lee; Amy Ames; Karen Kari
Aaron Ron; Alexander Alex; Andrew Andy Drew; Anthony Tony; Benjamin Ben; Brandon Bran; Charles Charlie
Christopher Chris; Daniel Dan Danny; David Dave; Edward Eddie; Eric Rick; Gregory Greg; Jacob Jake; James Jim Jimmy
Jason Jay; Jeffrey Jeff
John Johnny; Jonathan Jon; Joseph Joe Joey; Joshua Josh; Kenneth Ken Kenny; Kevin Kev; Matthew Matt; Michael Mike
Nicholas Nick; Patrick Pat; Richard Rick; Robert Bob Bobby; Ronald Ron; Samuel Sam; Stephen Steve; Steven Steve
Thomas Tom Tommy; Timothy Tim; William Will Bill; Zachary Zach
"""


def _nicknames() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for entry in _NICKNAME_LINES.replace("\n", ";").split(";"):
        name, *short = entry.split() or [""]
        if name:
            found[name] = found.get(name, ()) + tuple(short)
    return found


NICKNAMES = _nicknames()
"""Given name -> what people call her or him."""


def nickname_of(name: str, draw: float) -> str:
    """Return one of the nicknames of a given name that has any, picked by ``draw`` in [0, 1)."""
    known = NICKNAMES[name]
    return known[int(draw * len(known))]


def fold(text: str) -> str:
    """Strip accents: what an agency keeps that stores plain letters only."""
    return "".join(c for c in unicodedata.normalize("NFD", text.replace("ß", "ss")) if not unicodedata.combining(c))


def name_table(locale: str, kind: str) -> dict[str, float]:
    """Read one table of Faker: weighted as it is, unweighted with a heavy-tailed law over a fixed order.

    Raises
    ------
    LinkageError
        The package Faker is not installed.
    """
    try:
        provider = importlib.import_module(f"faker.providers.person.{locale}").Provider
    except ModuleNotFoundError:
        raise LinkageError(
            "the package faker is missing", reason="missing-package", hint="install linkage[lab]"
        ) from None
    raw = getattr(provider, kind)
    fit = [name for name in dict.fromkeys(raw) if usable(name)]
    if isinstance(raw, Mapping):
        return {name: float(raw[name]) for name in fit}
    ranks = np.random.default_rng(2013).permutation(len(fit)) + 1
    return {name: float(1.0 / np.sqrt(rank)) for name, rank in zip(fit, ranks, strict=True)}


# registrars wrote them, so the tables count them
_NO_NAMES = {"Baby", "Babyboy", "Babygirl", "Boy", "Female", "Girl", "Infant", "Male", "Unknown", "Unnamed"}


def usable(name: str) -> bool:
    """Tell whether a name is one word of letters once accents are off, and a name."""
    plain = fold(name)
    if plain in _NO_NAMES:
        return False
    return len(plain) > 1 and plain.replace("'", "").replace("-", "").isascii() and plain.replace("'", "").isalpha()


def _mix(parts: Iterable[tuple[float, Mapping[str, float]]]) -> tuple[Texts, Floats]:
    """Mix tables: of each part its share of the mass. Returns names and cumulative chances."""
    total: dict[str, float] = {}
    for mass, table in parts:
        scale = mass / sum(table.values())
        for name, weight in table.items():
            total[name] = total.get(name, 0.0) + weight * scale
    chances = np.cumsum(np.array(list(total.values())))
    return np.array(list(total), dtype=object), chances / chances[-1]


def _even(names: Iterable[str]) -> dict[str, float]:
    return dict.fromkeys(names, 1.0)


def _hispanic() -> dict[str, float]:
    """Mexican surnames, weighted as in the US table where they stand in it."""
    common = {fold(name): weight for name, weight in name_table("en_US", "last_names").items()}
    return {name: common.get(fold(name), 0.0) + 2e-4 for name in name_table("es_MX", "last_names")}


@cache
def _surname_table(race: str) -> tuple[Texts, Floats]:
    us, irish, british = (name_table(locale, "last_names") for locale in ("en_US", "en_IE", "en_GB"))
    spanish = {fold(name) for name in name_table("es_MX", "last_names")} - {"Martin", "Roman", "Leon"}
    us = {name: weight * (0.05 if name in spanish else 1.0) for name, weight in us.items()}
    english = [(0.20, irish), (0.12, british), (0.04, name_table("en", "last_names"))]
    if race == "latino":
        return _mix([(0.72, _hispanic()), (0.14, name_table("es_CO", "last_names")), (0.14, us)])
    if race == "asian":
        return _mix([(0.65, _even(_HMONG_CLANS.split())), (0.25, name_table("en_IN", "last_names")), (0.10, us)])
    if race == "white":
        central = [(0.14, name_table("de_DE", "last_names")), (0.06, name_table("de_LU", "last_names"))]
        rest = [(0.05, name_table(locale, "last_names")) for locale in ("nl_NL", "it_IT")]
        return _mix([(0.42, us), *central, *rest, *((0.75 * mass, table) for mass, table in english)])
    african = [(0.02, name_table(locale, "last_names")) for locale in ("en_KE", "yo_NG", "tw_GH")]
    return _mix([(0.56, us), *english, *african])


@cache
def _given_table(sex: str, race: str) -> tuple[Texts, Floats]:
    kind = "first_names_male" if sex in ("male", "transgender_male") else "first_names_female"
    us, long_tail = name_table("en_US", kind), name_table("en", kind)
    if race == "latino":
        return _mix([(0.45, us), (0.20, long_tail), (0.35, name_table("es_MX", kind))])
    if race == "asian":
        return _mix([(0.55, us), (0.25, long_tail), (0.20, name_table("en_IN", kind))])
    return _mix([(0.62, us), (0.38, long_tail)] if race == "white" else [(0.52, us), (0.48, long_tail)])


def _draw(table: tuple[Texts, Floats], rng: np.random.Generator, size: int) -> Texts:
    names, cumulative = table
    return names[np.minimum(np.searchsorted(cumulative, rng.random(size), side="right"), len(names) - 1)]


def given_names(rng: np.random.Generator, sex: Texts, race: Texts) -> Texts:
    """Draw a given name for each person; ``(n,)`` each."""
    names = np.empty(len(sex), dtype=object)
    for one in sorted(set(sex)):
        for other in sorted(set(race[sex == one])):
            at = np.flatnonzero((sex == one) & (race == other))
            names[at] = _draw(_given_table(str(one), str(other)), rng, len(at))
    return names


def surnames(rng: np.random.Generator, race: Texts, *, double: float = 0.04) -> Texts:
    """Draw a surname for each person, a few of them double ones; ``(n,)`` each."""
    names = np.empty(len(race), dtype=object)
    for one in sorted(set(race)):
        at = np.flatnonzero(race == one)
        table = _surname_table(str(one))
        drawn, second = _draw(table, rng, len(at)), _draw(table, rng, len(at))
        chance = double * (4.0 if one == "latino" else 1.0)
        for i in np.flatnonzero(rng.random(len(at)) < chance):
            if drawn[i] != second[i]:
                drawn[i] = f"{drawn[i]}-{second[i]}"
        names[at] = drawn
    return names


def street_names(rng: np.random.Generator, size: int) -> Texts:
    """Draw what somebody is called on the street; ``(size,)``."""
    return np.array(_STREET_NAMES, dtype=object)[rng.integers(0, len(_STREET_NAMES), size)]
