"""Keys that derive from `LAUREL_SECRET_KEY`: one for each purpose, so that no key is used twice and none is stored."""

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
NONCE_BYTES = 12
KEY_ID_BYTES = 4
FORMAT = b"\x01"


class UnsealError(ValueError):
    """A sealed value was made with another `LAUREL_SECRET_KEY` or for another purpose, or it is damaged."""


class Vault:
    """Seals secrets for storage and derives signing keys. Sealed = format (1 byte), key id (4), nonce (12), AES-256-GCM ciphertext."""

    def __init__(self, secret_key: str, previous: tuple[str, ...] = ()) -> None:
        """`previous` keys open what they sealed and verify what they signed; nothing new is made with them."""
        self._secret_key = secret_key.encode()
        self.previous = tuple(Vault(each) for each in previous)

    def derive(self, purpose: str) -> bytes:
        """A 32-byte key for this purpose (HKDF-SHA256, RFC 5869), always the same."""
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=b"laurel", info=purpose.encode()).derive(self._secret_key)

    def key_id(self, purpose: str) -> bytes:
        """Four bytes that name the key without giving it away."""
        return hashlib.sha256(b"key id" + self.derive(purpose)).digest()[:KEY_ID_BYTES]

    def seal(self, secret: str, purpose: str) -> bytes:
        """Encrypt a secret for storage; `purpose` says what it is, and only the same purpose opens it."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = AESGCM(self.derive(f"seal:{purpose}")).encrypt(nonce, secret.encode(), purpose.encode())
        return FORMAT + self.key_id(f"seal:{purpose}") + nonce + sealed

    def open(self, sealed: bytes, purpose: str) -> str:
        """The secret inside, sealed with the present key or a previous one; raises `UnsealError`."""
        key_id, nonce = sealed[1 : 1 + KEY_ID_BYTES], sealed[1 + KEY_ID_BYTES : 1 + KEY_ID_BYTES + NONCE_BYTES]
        fitting = [vault for vault in (self, *self.previous) if hmac.compare_digest(key_id, vault.key_id(f"seal:{purpose}"))]
        if sealed[:1] != FORMAT or not fitting:
            raise UnsealError(f"this {purpose} was sealed with another LAUREL_SECRET_KEY")
        try:
            body = sealed[1 + KEY_ID_BYTES + NONCE_BYTES :]
            return AESGCM(fitting[0].derive(f"seal:{purpose}")).decrypt(nonce, body, purpose.encode()).decode()
        except InvalidTag:
            raise UnsealError(f"this {purpose} is damaged") from None

    def seal_prefix(self, purpose: str) -> bytes:
        """How everything begins that the present key has sealed for this purpose."""
        return FORMAT + self.key_id(f"seal:{purpose}")

    def token_key(self) -> Ed25519PrivateKey:
        """The key that signs the platform's gamer tokens (EdDSA)."""
        return Ed25519PrivateKey.from_private_bytes(self.derive("gamer token"))

    def token_key_id(self) -> str:
        """The `kid` of gamer tokens."""
        return self.key_id("gamer token").hex()
