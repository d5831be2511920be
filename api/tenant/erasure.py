"""All that is held about a user, and its erasure (contract 4, Users)."""

from typing import Any

import msgspec
from litestar import Response, delete, get
from litestar.response import Stream

from api.export import Exports
from api.principal import Principal
from api.rule import Audit, allow
from api.tenant.user import user_for
from domain.tenant.erasure import erase_workflow_id
from domain.tenant.user_wire import UserProfile
from domain.wire import FreeForm
from loops.relay import Relay
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.tenant.audit import record
from storage.tenant.erasure import begin_erasure, forget_known_users
from storage.tenant.export import everything_about


class UserExport(msgspec.Struct, frozen=True, kw_only=True):
    """All that is held about a user: the profile, and the rows of each table under its name."""

    profile: UserProfile
    balances: list[FreeForm]
    transactions: list[FreeForm]
    redemptions: list[FreeForm]
    redemption_moves: list[FreeForm]
    standings: list[FreeForm]
    snapshots: list[FreeForm]
    tier: list[FreeForm]
    tier_history: list[FreeForm]
    prizes: list[FreeForm]
    grants: list[FreeForm]
    earning_limits: list[FreeForm]
    audit: list[FreeForm]
    events: list[FreeForm]
    deliveries: list[FreeForm]


@get("/v1/users/{external_id:str}/export", rule=allow("server", audit=Audit.ALWAYS), answers={200: UserExport})
async def export_user(external_id: str, principal: Principal, pool: Pool, exports: Exports) -> Response[Any]:
    """Export all data held about a user: the rows of each table, under the table's name. The audit log records who asked.

    It is put aside on disk while it is read, so that it takes little memory however long, and a slow reader holds no connection.
    """
    export = exports.begin(principal.tenant_id)
    try:
        async with transaction(pool) as connection:
            user = await user_for(connection, principal, external_id)
            await record(connection, principal.tenant_id, action="export", subject="app_user", subject_id=str(user.user_id), facts={})
            async for piece in everything_about(connection, principal.tenant_id, user):
                export.put_aside(piece)
        pieces = export.pieces()
    except BaseException:
        export.end()
        raise
    return Stream(pieces, media_type="application/json")


@delete("/v1/users/{external_id:str}", rule=allow("server", audit=Audit.ALWAYS), status_code=204)
async def erase_user(external_id: str, principal: Principal, pool: Pool, relay: Relay) -> None:
    """Erase a user. When this returns, the name and profile are deleted and the external id is free; a workflow does the rest.

    Open redemptions are cancelled, stored events, deliveries and the audit log are scrubbed, open windows are left; the ledger and
    frozen results stay, under `erased:<uuid>`.
    """
    async with transaction(pool) as connection:
        erasure = await begin_erasure(connection, principal.tenant_id, external_id, utc_now())
    async with transaction(pool) as connection:
        await forget_known_users(connection)
    relay.try_start(erase_workflow_id(erasure.tenant_id, erasure.user_id))


routes: list[Any] = [export_user, erase_user]
