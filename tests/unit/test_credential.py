"""The text of API keys, and who may do what with a request's tenant."""

import re

import pytest

from domain.tenant.credential import KEY_PATTERN, RANDOM_BYTES, compose_key, parse_key, same_secret


def test_a_new_key_has_the_contracts_shape() -> None:
    key = compose_key(bytes(range(RANDOM_BYTES)))
    assert re.fullmatch(r"lk_[a-z0-9]{8}_[A-Za-z0-9_-]{43}", key)
    assert KEY_PATTERN.fullmatch(key)


def test_a_key_parses_to_its_public_id_and_a_hash_without_the_secret() -> None:
    key = compose_key(bytes(range(RANDOM_BYTES)))
    parsed = parse_key(key)
    assert parsed is not None
    assert parsed.public_id == key.split("_")[1]
    assert len(parsed.secret_hash) == 32
    assert key.encode() not in parsed.secret_hash


@pytest.mark.parametrize(
    "text", ["", "lk_", "lk_short_x", "sk_aaaaaaaa_" + "a" * 43, "lk_aaaaaaaa_" + "a" * 42, "lk_aaaaaaaa_" + "a" * 43 + "\n"]
)
def test_other_text_is_no_key(text: str) -> None:
    assert parse_key(text) is None


def test_another_secret_under_the_same_public_id_is_not_the_same() -> None:
    one, other = parse_key("lk_aaaaaaaa_" + "a" * 43), parse_key("lk_aaaaaaaa_" + "b" * 43)
    assert one is not None
    assert other is not None
    assert one.public_id == other.public_id
    assert not same_secret(one.secret_hash, other.secret_hash)
