"""Signatures by both schemes, against the contract's vectors and the Standard Webhooks library."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import standardwebhooks

from domain.webhook.webhook import check_secret, make_secret, signatures

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "webhook.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_vector_is_signed_to_the_letter(vector):
    signed = signatures([vector["secret"]], vector["delivery_id"], vector["timestamp"], vector["body"].encode())
    assert signed.seed == vector["x_gamifyengine_signature"]
    assert signed.standard == vector.get("webhook_signature")


def test_the_standard_library_verifies_either_secret_during_a_rotation():
    old, new = make_secret(b"o" * 32), make_secret(b"n" * 32)
    body, now = b'{"event":"webhook.test"}', int(datetime.now(UTC).timestamp())
    signed = signatures([new, old], "some-delivery", now, body)
    headers = {"webhook-id": "some-delivery", "webhook-timestamp": str(now), "webhook-signature": signed.standard}
    for secret in (old, new):
        assert standardwebhooks.Webhook(secret).verify(body, headers) == {"event": "webhook.test"}
    assert signed.seed == signatures([old], "some-delivery", now, body).seed, "the seed header stays with the old secret"


def test_a_secret_of_ones_own_must_be_long_printable_and_base64_after_the_prefix():
    check_secret("sixteen characters")
    for bad in ("short", "x" * 256, "whsec_not base64!!!", "with a\nnew line in it"):
        with pytest.raises(Exception, match="secret"):
            check_secret(bad)
