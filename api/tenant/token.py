"""Tokens: those of the platform for gamers, and those of trusted issuers (contract 1, credentials)."""

from datetime import UTC, datetime
from typing import Any, TypeGuard
from uuid import UUID

import jwt
import msgspec

from domain.errors import Unauthorized, Unavailable
from domain.wire import external_id_problem
from runtime.crypto import Vault
from runtime.jwks import ALGORITHMS, JwksCache, JwksUnavailable
from runtime.settings import Settings

LEEWAY_SECONDS = 30
LATEST_EXPIRY = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
PLATFORM_ISSUER = "laurel"
PLATFORM_AUDIENCE = "laurel"
RESOURCE_OWNER_CLAIM = "urn:zitadel:iam:user:resourceowner:id"
MAXIMUM_LENGTH = 8192


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a verified token says. `organisation` names the tenant: its id in the platform's tokens, else its `org_id`."""

    subject: str
    organisation: str
    is_gamer: bool
    roles: frozenset[str]
    platform: bool
    expires_at: float
    issued_at: float = 0.0


class GamerTokens:
    """Issues the platform's own tokens. Every process with the same `LAUREL_SECRET_KEY` signs with the same key."""

    def __init__(self, settings: Settings) -> None:
        """Derives the key."""
        vault = Vault(settings.secret_key, settings.secret_key_previous)
        self._key_id = vault.token_key_id()
        self._private_key = vault.token_key()
        self._public_keys = {each.token_key_id(): each.token_key().public_key() for each in (vault, *vault.previous)}

    def public_key(self, key_id: object) -> Any:
        """The key of that `kid`: the present one, or a previous one, whose tokens hold until they are over. Raises `Unauthorized`."""
        known = self._public_keys.get(key_id) if isinstance(key_id, str) else None
        if known is None:
            raise Unauthorized("The token's key is not known")
        return known

    def issue(self, tenant_id: UUID, external_id: str, *, token_id: str, now: datetime, ttl_seconds: int) -> str:
        """A token with which the user acts for itself for `ttl_seconds`, signed with the platform's key."""
        issued_at = int(now.astimezone(UTC).timestamp())
        claims = {
            "iss": PLATFORM_ISSUER,
            "aud": PLATFORM_AUDIENCE,
            "sub": external_id,
            "org_id": str(tenant_id),
            "user_type": "gamer",
            "iat": issued_at,
            "exp": issued_at + ttl_seconds,
            "jti": token_id,
        }
        return jwt.encode(claims, self._private_key, algorithm="EdDSA", headers={"kid": self._key_id})


class TokenVerifier:
    """Verifies tokens. Keys of issuers are fetched when the first token of theirs comes."""

    def __init__(self, settings: Settings) -> None:
        """`settings` say which issuers are trusted."""
        self._issuers = {each.issuer: (each, JwksCache(each.jwks_url)) for each in settings.jwt_issuers}
        self._gamer_tokens = GamerTokens(settings)

    async def verify(self, text: str) -> Identity:
        """What the token says, its signature, times, issuer and audience checked; raises `Unauthorized`, `Unavailable`."""
        if len(text) > MAXIMUM_LENGTH:
            raise Unauthorized("The token is too long")
        try:
            header = jwt.get_unverified_header(text)
            unverified = jwt.decode(text, options={"verify_signature": False})
            algorithm = header.get("alg")
            if algorithm not in ALGORITHMS:
                raise Unauthorized("The token's algorithm is not accepted")
            issuer = unverified.get("iss")
            if issuer == PLATFORM_ISSUER:
                claims = _decode(
                    text,
                    self._gamer_tokens.public_key(header.get("kid")),
                    algorithms=["EdDSA"],
                    issuer=PLATFORM_ISSUER,
                    audience=PLATFORM_AUDIENCE,
                )
            else:
                claims = await self._verify_foreign(text, header, issuer)
        except jwt.ExpiredSignatureError:
            raise Unauthorized("The token has expired") from None
        except jwt.PyJWTError as error:
            raise Unauthorized(f"The token is not valid: {_reason(error)}") from None
        except (ValueError, TypeError, OverflowError):
            raise Unauthorized("The token is malformed") from None
        return _identity(claims, platform=issuer == PLATFORM_ISSUER)

    async def _verify_foreign(self, text: str, header: dict[str, Any], issuer: object) -> dict[str, Any]:
        trusted = self._issuers.get(issuer) if isinstance(issuer, str) else None
        if trusted is None:
            raise Unauthorized("The token's issuer is not trusted")
        known, keys = trusted
        try:
            key = await keys.key(header.get("kid"))
        except JwksUnavailable:
            raise Unavailable("The keys of the token's issuer are currently unavailable") from None
        if key is None or key.algorithm_name != header["alg"]:
            raise Unauthorized("The token's key is not known")
        return _decode(text, key.key, algorithms=[key.algorithm_name], issuer=known.issuer, audience=known.audience)


def _reason(error: jwt.PyJWTError) -> str:
    """Why a token is refused, in the words of tokens and not of the library that reads them."""
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"the claim {error.claim} is missing"
    reasons: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
        (jwt.InvalidSignatureError, "its signature does not match"),
        (jwt.InvalidAudienceError, "it is meant for another audience"),
        (jwt.InvalidIssuerError, "its issuer is not trusted"),
        (jwt.ImmatureSignatureError, "it is not valid yet"),
        (jwt.DecodeError, "it is malformed"),
    )
    return next((reason for kind, reason in reasons if isinstance(error, kind)), "it cannot be verified")


def _identity(claims: dict[str, Any], *, platform: bool) -> Identity:
    subject, is_gamer = claims["sub"], claims.get("user_type") == "gamer"
    organisation = claims.get("org_id") or claims.get(RESOURCE_OWNER_CLAIM)
    if not _is_text(organisation):
        raise Unauthorized("The token does not name a tenant")
    if not claims["exp"] <= LATEST_EXPIRY:
        raise Unauthorized("The token never expires")
    if not _is_text(subject) or (is_gamer and external_id_problem(subject) is not None):
        raise Unauthorized("The token's subject is not a valid user id")
    return Identity(
        subject=subject,
        organisation=organisation,
        is_gamer=is_gamer,
        roles=frozenset(_roles(claims, organisation)),
        platform=platform,
        expires_at=float(claims["exp"]) + LEEWAY_SECONDS,
        issued_at=float(claims.get("iat", 0)),
    )


def _is_text(value: object) -> TypeGuard[str]:
    """Whether a claim is text that a database keeps: neither U+0000 nor half a character."""
    return isinstance(value, str) and "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)


def _decode(text: str, key: Any, *, algorithms: list[str], issuer: str, audience: str | None) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(
        text,
        key,
        algorithms=algorithms,
        issuer=issuer,
        audience=audience,
        leeway=LEEWAY_SECONDS,
        options={"require": ["exp", "sub"], "verify_aud": audience is not None},
    )
    return claims


def _roles(claims: dict[str, Any], organisation: str) -> set[str]:
    """Every role that the token gives in this organisation.

    Zitadel writes objects, `{"<role>": {"<org id>": "<domain>"}}`: a role that was given in other organisations alone says nothing about
    this one. Others write lists, or objects without organisations.
    """
    roles: set[str] = set()
    for name, value in claims.items():
        if name == "roles" or (name.startswith("urn:zitadel:iam:org:project:") and name.endswith("roles")):
            if isinstance(value, dict):
                roles |= {str(role) for role, given in value.items() if not (isinstance(given, dict) and given) or organisation in given}
            else:
                roles |= {str(role) for role in value} if isinstance(value, list) else {str(value)}
    return roles
