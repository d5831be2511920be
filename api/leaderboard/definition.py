"""The definitions of boards: create, read, replace, archive, and explain what an event would do (contract 3, Definition)."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, delete, get, post, put
from psycopg.errors import UniqueViolation

from api.declared import As
from api.if_match import check_version
from api.leaderboard.board import BoardReader, no_such_board
from api.pagination import Page
from api.principal import Principal
from api.rule import ADMIN, ADMIN_READING
from domain.errors import AlreadyExists, InvalidState, LimitReached, ValidationError, VersionConflict
from domain.event.event import decode_stored, validate_event
from domain.event.event_wire import IngestionEventV1
from domain.leaderboard import window_sequence
from domain.leaderboard.board_wire import (
    ComingSegment,
    EventExplanation,
    ExplainedEntry,
    ExplainedRule,
    ExplainedWindow,
    LeaderboardAnswer,
    LeaderboardListAnswer,
    SegmentInForce,
)
from domain.leaderboard.definition import BoardStatus, BoardVersion, LeaderboardDefinition, TimelineSegment, parse_definition
from domain.leaderboard.standing import Contribution, is_ranked, merge, score_of
from domain.leaderboard.window_messages import WindowStatus
from domain.leaderboard.window_sequence import in_force, may_change, segment_at, segment_of
from domain.scoring.rules import Explanation, RuleExplanation, ScorableEvent, explain, min_score_units
from domain.scoring.why import SilenceCause, Why, sentence
from domain.wire import optional_rfc3339, rfc3339, score_number
from runtime.ids import new_id, utc_now
from runtime.postgres import Connection, Pool, transaction
from storage.leaderboard.definition import (
    Leaderboard,
    archive_board,
    boards_after,
    find_any_board,
    find_board,
    find_window,
    insert_board,
    replace_board,
)
from storage.leaderboard.standing import find_contribution
from storage.leaderboard.window import BoardWindow, latest_start
from storage.reward.config import check_config
from storage.rules_lock import change_instant
from storage.tenant.user import find_user

AnyRequest = Request[Any, Any, Any]


class LeaderboardParams(msgspec.Struct, frozen=True, kw_only=True):
    """Which definitions."""

    status: BoardStatus | None = None


def board_answer(board: Leaderboard) -> LeaderboardAnswer:
    """The definition as admins see it."""
    present, coming = windows_of(board)
    return LeaderboardAnswer(
        leaderboard_id=board.leaderboard_id,
        tenant_id=board.tenant_id,
        name=board.name,
        description=board.description,
        status=board.status,
        version=board.version,
        config=board.config,
        in_force=present,
        coming=coming,
        reward_config_id=board.reward_config_id,
        created_at=rfc3339(board.created_at),
        updated_at=rfc3339(board.updated_at),
    )


def windows_of(board: Leaderboard) -> tuple[SegmentInForce, list[ComingSegment]]:
    """What the present window is, and what comes when."""
    now = utc_now()
    coming = [
        ComingSegment(**_segment(board, segment), takes_effect_at=rfc3339(segment.starts_at))
        for segment in board.segments
        if segment.starts_at is not None and segment.starts_at > now
    ]
    return SegmentInForce(**_segment(board, segment_at(board.segments, now))), coming


def _segment(board: Leaderboard, segment: TimelineSegment) -> dict[str, Any]:
    timeframe = in_force(board.config, segment).timeframe
    return {"timeframe": timeframe, "aggregation": segment.aggregation, "method": segment.method}


@post("/v1/admin/leaderboards", rule=ADMIN, status_code=201, refusals=(AlreadyExists, LimitReached))
async def create_leaderboard(
    data: Annotated[dict[str, Any], As(LeaderboardDefinition)], principal: Principal, pool: Pool, reader: BoardReader
) -> LeaderboardAnswer:
    """Create a board. It counts events accepted from now on. The id of an archived board can be used again."""
    definition = parse_definition(data)
    if definition.leaderboard_id is None:
        raise ValidationError.of("leaderboard_id", "is required")
    taken = AlreadyExists(f"Leaderboard '{definition.leaderboard_id}' already exists")
    try:
        async with transaction(pool) as connection:
            if await find_board(connection, principal.tenant_id, definition.leaderboard_id) is not None:
                raise taken
            await check_config(connection, principal.tenant_id, definition.reward_config_id)
            instant = await change_instant(connection, principal.tenant_id, asked_for=True)
            board = await insert_board(
                connection, principal.tenant_id, new_id(), definition.leaderboard_id, definition=definition, instant=instant
            )
    except UniqueViolation:
        raise taken from None
    reader.forget()
    return board_answer(board)


@get("/v1/admin/leaderboards", rule=ADMIN)
async def list_leaderboard_definitions(params: LeaderboardParams, principal: Principal, pool: Pool, page: Page) -> LeaderboardListAnswer:
    """List definitions in the order of creation. `status` selects one status; archived boards are only listed with it."""
    statuses = (params.status.value,) if params.status else (BoardStatus.ACTIVE.value, BoardStatus.INACTIVE.value)
    async with pool.connection() as connection:
        total, boards = await boards_after(connection, principal.tenant_id, statuses=statuses, after=page.after_id(), limit=page.limit)
    shown = [board_answer(board) for board in boards]
    return LeaderboardListAnswer(total=total, leaderboards=shown, next_cursor=page.cursor_of(boards, "board_id"))


@get("/v1/admin/leaderboards/{leaderboard_id:str}", rule=ADMIN)
async def get_leaderboard_definition(leaderboard_id: str, principal: Principal, pool: Pool) -> LeaderboardAnswer:
    """Get a definition; for an archived id, the latest incarnation."""
    async with pool.connection() as connection:
        board = await find_any_board(connection, principal.tenant_id, leaderboard_id)
    if board is None:
        raise no_such_board(leaderboard_id)
    return board_answer(board)


async def _present(connection: Connection, tenant_id: UUID, leaderboard_id: str) -> Leaderboard:
    """The board, locked; LeaderboardNotFound, or InvalidState for an archived one."""
    board = await find_board(connection, tenant_id, leaderboard_id, lock=True)
    if board is not None:
        return board
    if await find_any_board(connection, tenant_id, leaderboard_id) is not None:
        raise InvalidState(f"Leaderboard '{leaderboard_id}' is archived", present=BoardStatus.ARCHIVED.value)
    raise no_such_board(leaderboard_id)


@put("/v1/admin/leaderboards/{leaderboard_id:str}", rule=ADMIN, refusals=(InvalidState, VersionConflict, LimitReached))
async def replace_leaderboard(  # its definition, and what replaces it
    leaderboard_id: str,
    data: Annotated[dict[str, Any], As(LeaderboardDefinition)],
    request: AnyRequest,
    principal: Principal,
    pool: Pool,
    reader: BoardReader,
) -> LeaderboardAnswer:
    """Replace a definition. Events accepted from now on are scored by it. A change of timeframe, aggregation or method takes effect with
    the first window that starts more than an hour later."""
    definition = parse_definition(data)
    if definition.leaderboard_id not in (None, leaderboard_id):
        raise ValidationError.of("leaderboard_id", "differs from the one in the path")
    async with transaction(pool) as connection:
        board = await _present(connection, principal.tenant_id, leaderboard_id)
        check_version(request, board.version)
        await check_config(connection, principal.tenant_id, definition.reward_config_id)
        wanted = segment_of(definition.config)
        if not may_change(board.segments, wanted):
            raise InvalidState(
                "A board of type custom or all_time cannot change its timeframe, aggregation or method, and no other board can become one"
            )
        instant = await change_instant(connection, principal.tenant_id, asked_for=True)
        latest = await latest_start(connection, principal.tenant_id, board.board_id)
        line = window_sequence.changed(board.segments, wanted, after=max(instant + window_sequence.NOTICE, latest or instant))
        # Once there has been a change, also one that was taken back, the versions' configs do not say what the windows were.
        kept = line if board.timeline or len(line) > 1 else ()
        changed = await replace_board(
            connection, principal.tenant_id, board.board_id, definition=definition, instant=instant, timeline=kept
        )
    reader.forget()
    return board_answer(changed)


@delete("/v1/admin/leaderboards/{leaderboard_id:str}", rule=ADMIN, status_code=204, refusals=(VersionConflict,))
async def archive_leaderboard(leaderboard_id: str, request: AnyRequest, principal: Principal, pool: Pool, reader: BoardReader) -> None:
    """Archive a board. Its open window closes without a payout, and its id can be used again. Archiving it again changes nothing."""
    async with transaction(pool) as connection:
        try:
            board = await _present(connection, principal.tenant_id, leaderboard_id)
        except InvalidState:
            return
        check_version(request, board.version)
        instant = await change_instant(connection, principal.tenant_id)
        await archive_board(connection, principal.tenant_id, board.board_id, instant=instant)
    reader.forget()


@post("/v1/admin/leaderboards/{leaderboard_id:str}/explain", rule=ADMIN_READING, status_code=200, body=IngestionEventV1)
async def explain_event(leaderboard_id: str, request: AnyRequest, principal: Principal, pool: Pool) -> EventExplanation:
    """Explain what the event in the body would score on the board if it was accepted now. Writes nothing."""
    now = utc_now()
    event = validate_event(await request.body(), now)
    document = {**decode_stored(event.body), "tenant_id": str(principal.tenant_id)}
    user_id = document["actor"]["user_id"]
    async with transaction(pool) as connection:
        board = await find_board(connection, principal.tenant_id, leaderboard_id)
        if board is None:
            raise no_such_board(leaderboard_id)
        version = BoardVersion(
            board_id=board.board_id,
            version=board.version,
            status=board.status,
            config=board.config,
            valid_from=board.updated_at,
            timeline=board.timeline,
        )
        scorable = ScorableEvent(0, now, event.occurred_at, UUID(int=0), document)
        said = explain(version, event.type, scorable)
        window = await find_window(connection, principal.tenant_id, board.board_id, said.window.key) if said.window else None
        user = await find_user(connection, principal.tenant_id, user_id)
        present = await find_contribution(connection, principal.tenant_id, window.standings, user.user_id) if window and user else None
    closes_at = window.closes_at if window else said.window.closes_at(board.config.timeframe.grace_seconds) if said.window else None
    late = said.matched and closes_at is not None and now >= closes_at
    at_present, coming = windows_of(board)
    return EventExplanation(
        leaderboard_id=leaderboard_id,
        version=board.version,
        in_force=at_present,
        coming=coming,
        event_id=event.event_id,
        matched=said.matched and not late,
        reason=sentence(Why(code=SilenceCause.WINDOW_CLOSED)) if late else said.reason,
        points=None if said.points is None else score_number(said.points),
        rules=[_rule(rule) for rule in said.rules],
        window=_window(said, window, optional_rfc3339(closes_at)),
        entry=None if late else _entry(board, user_id, said, present),
    )


def _rule(rule: RuleExplanation) -> ExplainedRule:
    return ExplainedRule(
        rule=rule.rule,
        event_type=rule.event_type,
        matched=rule.matched,
        points=None if rule.points is None else score_number(rule.points),
        reason=rule.reason,
    )


def _window(said: Explanation, row: BoardWindow | None, closes_at: str | None) -> ExplainedWindow | None:
    if said.window is None:
        return None
    return ExplainedWindow(
        window_key=said.window.key,
        status=WindowStatus(row.status) if row else WindowStatus.OPEN,
        starts_at=optional_rfc3339(said.window.starts_at),
        ends_at=optional_rfc3339(said.window.ends_at),
        closes_at=closes_at,
    )


def _entry(board: Leaderboard, user_id: str, said: Explanation, present: Contribution | None) -> ExplainedEntry | None:
    """The user's entry with the event on top of what counts already."""
    event = said.entry
    if event is None:
        return None
    aggregation = board.config_of(said.window.starts_at if said.window else None).scoring.aggregation
    score, reached_at = score_of(aggregation, merge(aggregation, present, event) if present else event)
    return ExplainedEntry(
        user_id=user_id,
        score=score_number(score),
        score_before=score_number(score_of(aggregation, present)[0]) if present else None,
        updated_at=rfc3339(reached_at),
        ranked=is_ranked(score, min_score_units(board.config)),
    )


routes: list[Any] = [
    create_leaderboard,
    list_leaderboard_definitions,
    get_leaderboard_definition,
    replace_leaderboard,
    archive_leaderboard,
    explain_event,
]
