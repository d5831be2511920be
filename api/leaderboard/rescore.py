"""Rescores for admins: build an open window anew from the event log, and look how far that is (contract 3)."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Response, get, post
from msgspec import Meta

from api.leaderboard.board import no_such_board
from api.pagination import Page
from api.principal import Principal
from api.rule import ADMIN
from domain.errors import EventsExpired, InvalidState, NotFound
from domain.leaderboard.board_wire import RescoreAnswer, RescoreListAnswer
from domain.leaderboard.rescore import RescoreProgress, rescore_workflow_id
from domain.wire import optional_rfc3339, rfc3339
from loops.relay import Relay
from runtime.postgres import Pool, transaction
from storage.leaderboard.definition import find_any_board
from storage.leaderboard.rescore import Rescore, find_rescore, progress_of, rescores_before
from storage.leaderboard.rescore_request import request_rescore


class RescoreBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body: the key of an open window, or `current`."""

    window_key: Annotated[str, Meta(min_length=1, max_length=100, examples=["current"])]


def rescore_answer(rescore: Rescore, leaderboard_id: str, progress: RescoreProgress) -> RescoreAnswer:
    """A rescore as admins see it."""
    return RescoreAnswer(
        rescore_id=rescore.rescore_id,
        leaderboard_id=leaderboard_id,
        window_key=rescore.window_key,
        version=rescore.version,
        status=progress.status,
        progress=progress.fraction,
        positions_read=progress.positions_read,
        positions_total=progress.positions,
        events_read=progress.events_read,
        reason=progress.reason,
        workflow_id=rescore_workflow_id(rescore.tenant_id, rescore.rescore_id),
        progress_url=_path(leaderboard_id, rescore.rescore_id),
        created_at=rfc3339(rescore.created_at),
        completed_at=optional_rfc3339(rescore.completed_at),
    )


def _path(leaderboard_id: str, rescore_id: UUID) -> str:
    return f"/v1/admin/leaderboards/{leaderboard_id}/rescores/{rescore_id}"


@post("/v1/admin/leaderboards/{leaderboard_id:str}/rescore", rule=ADMIN, status_code=202, refusals=(InvalidState, EventsExpired, NotFound))
async def create_rescore(leaderboard_id: str, data: RescoreBody, principal: Principal, pool: Pool, relay: Relay) -> Response[RescoreAnswer]:
    """Rebuild an open window from the event log under the current rules. The board shows the old standings until it is complete."""
    async with transaction(pool) as connection:
        rescore = await request_rescore(connection, principal.tenant_id, leaderboard_id, data.window_key)
        progress = await progress_of(connection, rescore)
    relay.try_start(rescore_workflow_id(rescore.tenant_id, rescore.rescore_id))
    body = rescore_answer(rescore, leaderboard_id, progress)
    return Response(body, status_code=202, headers={"Location": body.progress_url})


@get("/v1/admin/leaderboards/{leaderboard_id:str}/rescores", rule=ADMIN)
async def list_rescores(leaderboard_id: str, principal: Principal, pool: Pool, page: Page) -> RescoreListAnswer:
    """List rescores of the board, newest first."""
    async with pool.connection() as connection:
        board = await find_any_board(connection, principal.tenant_id, leaderboard_id)
        if board is None:
            raise no_such_board(leaderboard_id)
        found = await rescores_before(connection, principal.tenant_id, board.board_id, before=page.after_id(), limit=page.limit)
        shown = [rescore_answer(each, leaderboard_id, await progress_of(connection, each)) for each in found]
    return RescoreListAnswer(rescores=shown, next_cursor=page.cursor_of(found, "rescore_id"))


@get("/v1/admin/leaderboards/{leaderboard_id:str}/rescores/{rescore_id:uuid}", rule=ADMIN)
async def get_rescore(leaderboard_id: str, rescore_id: UUID, principal: Principal, pool: Pool) -> RescoreAnswer:
    """Get a rescore and its progress."""
    async with pool.connection() as connection:
        board = await find_any_board(connection, principal.tenant_id, leaderboard_id)
        found = await find_rescore(connection, principal.tenant_id, rescore_id)
        if board is None or found is None or found.board_id != board.board_id:
            raise NotFound(f"Leaderboard '{leaderboard_id}' has no rescore '{rescore_id}'")
        return rescore_answer(found, leaderboard_id, await progress_of(connection, found))


routes: list[Any] = [create_rescore, list_rescores, get_rescore]
