"""Secrets at rest open with the same key and purpose, and with nothing else."""

import pytest

from runtime.crypto import UnsealError, Vault

KEY = "a secret key that only the tests use"


def test_a_sealed_secret_opens_with_its_key_and_purpose() -> None:
    vault = Vault(KEY)
    sealed = vault.seal("whsec_abc", "webhook secret")
    assert b"whsec" not in sealed
    assert Vault(KEY).open(sealed, "webhook secret") == "whsec_abc"
    assert vault.seal("whsec_abc", "webhook secret") != sealed


@pytest.mark.parametrize(("key", "purpose"), [(KEY, "voucher code"), (KEY + "!", "webhook secret")])
def test_another_purpose_or_key_opens_nothing(key: str, purpose: str) -> None:
    sealed = Vault(KEY).seal("whsec_abc", "webhook secret")
    with pytest.raises(UnsealError):
        Vault(key).open(sealed, purpose)


def test_every_changed_byte_is_noticed() -> None:
    vault = Vault(KEY)
    sealed = vault.seal("s", "p")
    for place in range(len(sealed)):
        changed = bytes(byte ^ (1 if n == place else 0) for n, byte in enumerate(sealed))
        with pytest.raises(UnsealError):
            vault.open(changed, "p")
    with pytest.raises(UnsealError):
        vault.open(b"", "p")


def test_the_token_key_is_the_same_in_every_process() -> None:
    assert Vault(KEY).token_key().private_bytes_raw() == Vault(KEY).token_key().private_bytes_raw()
    assert Vault(KEY).token_key_id() != Vault(KEY + "!").token_key_id()
