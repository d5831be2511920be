"""Who may call a route. A route's rule stands once, at the route (`rule=ADMIN`): its door asks it, and the API document tells it."""

from enum import StrEnum
from typing import Literal, cast

import msgspec
from litestar.handlers import BaseRouteHandler

from domain.errors import Forbidden

Role = Literal["admin", "server", "fulfilment", "read", "gamer", "member"]


class Audit(StrEnum):
    """Which requests of a route say in the audit log who asked for what they change, and why."""

    NEVER = "never"
    CHANGES = "changes"
    """Whatever is no GET."""
    CHANGES_BY_ADMINS = "changes_by_admins"
    """What partners and servers do all day, and the timeline keeps: only an admin's is in the audit log."""
    ALWAYS = "always"
    """What takes all of a person away, hands all of it out, or speaks in its name, whoever asks for it."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Who may call a route, and what follows from that."""

    roles: frozenset[str]
    even_suspended: bool = False
    """Open also while the tenant is suspended."""
    only_reads: bool = False
    """Writes nothing, although it is no GET: whoever may only read may call it."""
    audit: Audit = Audit.NEVER

    @property
    def security(self) -> list[dict[str, list[str]]]:
        """The credentials that the route takes, as the API document says it."""
        if self == PUBLIC:
            return []
        return [{"bearer": []}] if self == OPERATOR else [{"bearer": []}, {"api_key": []}]

    def check_role(self, role: str) -> None:
        """Raise `Forbidden`, which says which roles may do this, for any other."""
        if role not in self.roles:
            raise Forbidden(f"This requires a credential with role {_either(sorted(self.roles))}; this one has role {role}")

    def is_audited(self, method: str, role: str) -> bool:
        """Whether a request of somebody in that role is one for the audit log."""
        if method == "GET" or self.only_reads:
            return self.audit is Audit.ALWAYS
        return self.audit in (Audit.CHANGES, Audit.ALWAYS) or (self.audit is Audit.CHANGES_BY_ADMINS and role == "admin")


def _either(names: list[str]) -> str:
    """`admin, server or read`."""
    return " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def allow(*roles: Role, even_suspended: bool = False, audit: Audit = Audit.NEVER) -> Rule:
    """These roles come through, and `admin`, which may do everything in its tenant but be a user of it."""
    return Rule(roles=frozenset({*roles, "admin"}), even_suspended=even_suspended, audit=audit)


CLOSED = Rule(roles=frozenset())
"""For routes that do not say who may call them: nobody."""
PUBLIC = Rule(roles=frozenset({"public"}))
"""For routes that ask for no credential."""
OPERATOR = Rule(roles=frozenset({"operator"}), audit=Audit.CHANGES)
"""For routes of no tenant: the operator's key alone opens them."""
ADMIN = Rule(roles=frozenset({"admin"}), audit=Audit.CHANGES)
ADMIN_READING = Rule(roles=frozenset({"admin"}), only_reads=True)
"""For what an admin asks by POST and nothing is changed by."""
GAMER = Rule(roles=frozenset({"gamer"}))
"""For what a user does for itself, and nobody in its name."""
SERVER = allow("server")
SENDERS = allow("server", "gamer", "member")
USERS = allow("server", "gamer")
"""For what users do, and what servers do for them."""
USER_READERS = allow("server", "read", "gamer")
"""For what a user may see of itself, and those who serve users of anyone."""
BOARD_READERS = allow("server", "read", "gamer", "member")
"""For what all users may see: boards, snapshots, the catalog."""


def rule_of(handler: BaseRouteHandler) -> Rule:
    """Who may call the route."""
    return cast(Rule, handler.opt.get("rule", CLOSED))
