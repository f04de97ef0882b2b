from __future__ import annotations

import hashlib
import hmac
import itertools
import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage.errors import KeyFileError
from linkage.exchange.custody.shares import MOST_SHARES, join, split

shamir_mnemonic = pytest.importorskip("shamir_mnemonic")

# From the vectors published with SLIP-39, whose passphrase is TREZOR: 2 of 3 shares of 128 and of 256 bits.
VECTORS = [
    (
        "shadow pistol academic always adequate wildlife fancy gross oasis cylinder mustang wrist rescue view short"
        " owner flip making coding armed",
        "shadow pistol academic acid actress prayer class unknown daughter sweater depict flip twice unkind craft early"
        " superior advocate guest smoking",
        "b43ceb7e57a0ea8766221624d01b0864",
    ),
    (
        "humidity disease academic always aluminum jewelry energy woman receiver strategy amuse duckling lying"
        " evidence network walnut tactics forget hairy rebound impulse brother survive clothes stadium mailman rival"
        " ocean reward venture always armed unwrap",
        "humidity disease academic agency actress jacket gross physics cylinder solution fake mortgage benefit public"
        " busy prepare sharp friar change work slow purchase ruler again tricycle involve viral wireless mixture"
        " anatomy desert cargo upgrade",
        "c938b319067687e990e05e0da0ecce1278f75ff58d9853f19dcaeed5de104aae",
    ),
]
# Published as invalid: a wrong checksum, other identifiers, exponents, thresholds, twice the same index, wrong digest.
INVALID = [
    (
        "duckling enlarge academic academic agency result length solution fridge kidney coal piece deal husband erode"
        " duke ajar critical decision kidney",
    ),
    (
        "adequate smoking academic acid debut wine petition glen cluster slow rhyme slow simple epidemic rumor junk"
        " tracks treat olympic tolerate",
        "adequate stay academic agency agency formal party ting frequent learn upstairs remember smear leaf damage"
        " anatomy ladle market hush corner",
    ),
    (
        "peasant leaves academic acid desert exact olympic math alive axle trial tackle drug deny decent smear dominant"
        " desert bucket remind",
        "peasant leader academic agency cultural blessing percent network envelope medal junk primary human pumps"
        " jacket fragment payroll ticket evoke voice",
    ),
    (
        "device stay academic always dive coal antenna adult black exceed stadium herald advance soldier busy dryer"
        " daughter evaluate minister laser",
        "device stay academic always dwarf afraid robin gravity crunch adjust soul branch walnut coastal dream costume"
        " scholar mortgage mountain pumps",
    ),
    (
        "hour painting academic academic device formal evoke guitar random modern justice filter withdraw trouble"
        " identify mailman insect general cover oven",
        "hour painting academic agency artist again daisy capital beaver fiber much enjoy suitable symbolic identify"
        " photo editor romp float echo",
    ),
    (
        "guilt walnut academic acid deliver remove equip listen vampire tactics nylon rhythm failure husband fatigue"
        " alive blind enemy teaspoon rebound",
        "guilt walnut academic agency brave hamster hobo declare herd taste alpha slim criminal mild arcade formal romp"
        " branch pink ambition",
    ),
    ("junk necklace academic academic acne isolate join hesitate lunar roster dough calcium chemical ladybug amount"
     " mobile glasses verify cylinder",),
]  # fmt: skip


def times(left: int, right: int) -> int:
    """Multiply in the field of 256 elements of AES, bit by bit."""
    product = 0
    while right:
        product ^= left if right & 1 else 0
        left = (left << 1) ^ (0x11B if left & 0x80 else 0)
        right >>= 1
    return product


def value_at(points: dict[int, bytes], x: int) -> bytes:
    """Interpolate after Lagrange, byte by byte, with the inverse as the power 254."""
    result = bytearray(len(next(iter(points.values()))))
    for at, value in points.items():
        factor = 1
        for other in points:
            if other != at:
                difference, inverse = at ^ other, 1
                for _ in range(254):
                    inverse = times(inverse, difference)
                factor = times(factor, times(x ^ other, inverse))
        for place, byte in enumerate(value):
            result[place] ^= times(byte, factor)
    return bytes(result)


def plain_join(shares: list[str], passphrase: bytes) -> bytes:
    """Join by the text of SLIP-39 alone: words to numbers, interpolation, digest, Feistel network."""
    words = shamir_mnemonic.share.wordlist.WORDLIST
    points, head = {}, 0
    for share in shares:
        numbers = [words.index(word) for word in share.split()]
        head = numbers[0] << 10 | numbers[1]
        index = (numbers[2] << 10 | numbers[3]) >> 4 & 15
        whole = 0
        for number in numbers[4:-3]:
            whole = whole << 10 | number
        points[index] = whole.to_bytes((len(numbers) - 7) * 10 // 16 * 2, "big")
    secret, check = value_at(points, 255), value_at(points, 254)
    assert check[:4] == hmac.digest(check[4:], secret, "sha256")[:4]
    salt = b"" if head >> 4 & 1 else b"shamir" + (head >> 5).to_bytes(2, "big")
    half = len(secret) // 2
    left, right = secret[:half], secret[half:]
    for step in (3, 2, 1, 0):
        stretched = hashlib.pbkdf2_hmac(
            "sha256", bytes([step]) + passphrase, salt + right, 2500 << (head & 15), dklen=half
        )
        left, right = right, bytes(a ^ b for a, b in zip(left, stretched, strict=True))
    return right + left


@pytest.mark.parametrize(("first", "second", "secret"), VECTORS)
def test_plain_twin_reads_the_published_vectors_and_join_agrees_with_it(first: str, second: str, secret: str) -> None:
    assert plain_join([first, second], b"TREZOR") == bytes.fromhex(secret)
    assert join([first, second]) == plain_join([first, second], b"")


@pytest.mark.parametrize("shares", INVALID)
def test_published_invalid_sets_are_refused(shares: tuple[str, ...]) -> None:
    with pytest.raises(KeyFileError) as caught:
        join(shares)
    assert caught.value.reason == "bad-shares"


@pytest.mark.parametrize(("length", "threshold", "count"), [(32, 2, 3), (32, 3, 5), (128, 2, 2), (64, 16, 16)])
def test_round_trip_by_any_shares(length: int, threshold: int, count: int) -> None:
    secret = secrets.token_bytes(length)
    shares = split(secret, threshold, count)
    assert len(set(shares)) == count
    for chosen in itertools.islice(itertools.permutations(shares, threshold), 12):
        assert join(chosen) == secret
    assert join(shares) == secret == plain_join(shares[:threshold], b"")
    assert join([*shares[:threshold], shares[0]]) == secret


def test_shares_of_256_bits_have_33_words_and_are_fresh_each_time() -> None:
    secret = bytes(32)
    first, second = split(secret, 2, 3), split(secret, 2, 3)
    assert {len(share.split()) for share in first + second} == {33}
    assert not set(first) & set(second)


def test_library_draws_from_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shamir_mnemonic.shamir.RANDOM_BYTES is secrets.token_bytes


@pytest.mark.parametrize(("threshold", "count"), [(0, 1), (1, 1), (1, 3), (3, 2), (2, MOST_SHARES + 1), (-1, 2)])
def test_numbers_that_do_not_fit(threshold: int, count: int) -> None:
    with pytest.raises(KeyFileError) as caught:
        split(bytes(32), threshold, count)
    assert caught.value.reason == "bad-threshold"


@pytest.mark.parametrize("length", [0, 15, 33, 514])
def test_lengths_that_are_not_split(length: int) -> None:
    with pytest.raises(KeyFileError) as caught:
        split(bytes(length), 2, 3)
    assert caught.value.reason == "bad-secret"


def test_too_few() -> None:
    shares = split(secrets.token_bytes(32), 3, 5)
    for given_shares in ([], shares[:2], [shares[0]] * 3, [shares[0], shares[1], shares[0].upper()]):
        with pytest.raises(KeyFileError) as caught:
            join(given_shares)
        assert caught.value.reason == "too-few-shares"


def test_mixed_sets_are_refused_also_beyond_the_threshold() -> None:
    shares, others = split(bytes(32), 2, 3), split(bytes(32), 2, 3)
    for chosen in ([shares[0], others[1]], [*shares, others[2]], [shares[0], shares[1], others[0]]):
        with pytest.raises(KeyFileError) as caught:
            join(chosen)
        assert caught.value.reason == "bad-shares"


def test_forged_share_with_a_right_checksum_is_refused() -> None:
    """A holder who changes the value and makes the checksum anew is told by the digest, or by the shares left over."""
    shares = split(secrets.token_bytes(32), 2, 3)
    share = shamir_mnemonic.Share.from_mnemonic(shares[2])
    forged = shamir_mnemonic.Share(*list(vars(share).values())[:-1], bytes(32)).mnemonic()
    for chosen in ([shares[0], forged], [shares[0], shares[1], forged], [shares[2], forged]):
        with pytest.raises(KeyFileError) as caught:
            join(chosen)
        assert caught.value.reason == "bad-shares"


def test_words_are_read_in_any_case_and_spacing() -> None:
    secret = secrets.token_bytes(32)
    shares = split(secret, 2, 2)
    assert join([shares[0].upper().replace(" ", "\n  "), f"\t{shares[1].title()}\r\n"]) == secret


SHARES = split(bytes(range(32)), 2, 3)


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 32), word=st.sampled_from([*SHARES[1].split(), "zebra", "", "1", "é", "academic"]))
def test_no_changed_word_passes_and_none_is_told(place: int, word: str) -> None:
    words = SHARES[0].split()
    if words[place] == word:
        return
    words[place] = word
    with pytest.raises(KeyFileError) as caught:
        join([" ".join(words), SHARES[1]])
    assert caught.value.reason == "bad-shares"
    told = str(caught.value).split()
    assert not set(SHARES[0].split()) & set(told) and "zebra" not in told


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=300) | st.sampled_from(SHARES), max_size=4))
def test_join_raises_only_its_own_errors(shares: list[str]) -> None:
    try:
        assert join(shares) == bytes(range(32))
    except KeyFileError as error:
        assert error.reason in ("bad-shares", "too-few-shares")


def test_long_text_is_refused_before_it_is_read() -> None:
    with pytest.raises(KeyFileError) as caught:
        join(["academic " * 500_000])
    assert caught.value.reason == "bad-shares"
