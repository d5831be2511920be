"""Redeeming: everything that a purchase checks and writes, in one transaction (docs/architecture.md, the life of a redemption)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from domain.errors import NotEligible, RewardNotFound, UserLimitReached, UserNotFound
from domain.leaderboard.window import WindowSpan
from domain.points.ledger import place_hold
from domain.redemption.redeem import check_size, first_deadline, first_state, fulfilment_copy
from domain.redemption.redemption import RETURNED, NewRedemption, Redemption, TimelineRow
from domain.reward.offer import (
    check_available,
    chosen_variant,
    has_own_stock,
    limit_period,
)
from domain.reward.reward import Reward, check_fields, choose_price, reward_snapshot
from domain.tenant.user import User
from runtime.ids import new_id
from runtime.postgres import Connection
from storage import outbox
from storage.points import ledger
from storage.redemption.command import start_entry
from storage.redemption.fulfilment import kind_of
from storage.redemption.timeline import INSERT_MOVE, timeline_columns, write_timeline
from storage.reward.reward import take_stock


class RedeemRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a user wants: a reward by id or by slug, in one of its variants, paid in `currency` (None: its only price).

    `by` is who asks, for the timeline.
    """

    external_user_id: str
    reward_id: UUID | None = None
    slug: str | None = None
    variant_id: str | None = None
    currency: str | None = None
    fields: dict[str, Any] = {}
    by: str


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """The user and the reward of an order as they are now; None for what does not exist. `places` are those of each currency,
    `timezone` the tenant's, `tier` the user's. `unspendable`: currencies that buy nothing (any more)."""

    user: User | None
    reward: Reward | None
    places: dict[str, int]
    timezone: str
    tier: str | None = None
    unspendable: list[str] = []


# Rows as jsonb: what belongs to different tables comes back in one round trip.
FIND_OFFER = """
SELECT (SELECT to_jsonb(app_user) FROM app_user WHERE tenant_id = %(tenant_id)s AND external_id = %(external_user_id)s) AS "user",
       (SELECT to_jsonb(reward) || jsonb_build_object('variant_stock', coalesce(
                (SELECT jsonb_object_agg(variant_id, limited.stock) FROM reward_variant AS limited
                 WHERE limited.tenant_id = reward.tenant_id AND limited.reward_id = reward.reward_id), '{{}}'))
        FROM reward WHERE tenant_id = %(tenant_id)s AND archived_at IS NULL AND {which}) AS reward,
       (SELECT timezone FROM tenant WHERE tenant_id = %(tenant_id)s) AS timezone,
       (SELECT tier FROM user_tier JOIN app_user USING (tenant_id, user_id)
        WHERE tenant_id = %(tenant_id)s AND external_id = %(external_user_id)s) AS tier,
       (SELECT jsonb_object_agg(currency_id, decimal_places) FROM currency WHERE tenant_id = %(tenant_id)s) AS places,
       (SELECT coalesce(jsonb_agg(currency_id), '[]') FROM currency WHERE tenant_id = %(tenant_id)s AND NOT is_spendable) AS unspendable
"""


async def find_offer(connection: Connection, tenant_id: UUID, wanted: RedeemRequest) -> Offer:
    """The user and the reward of the order, in one round trip and without a lock."""
    which = "slug = %(slug)s" if wanted.reward_id is None else "reward_id = %(reward_id)s"
    parameters = {
        "tenant_id": tenant_id,
        "external_user_id": wanted.external_user_id,
        "reward_id": wanted.reward_id,
        "slug": wanted.slug,
    }
    cursor = await connection.execute(FIND_OFFER.format(which=which), parameters)
    row = await cursor.fetchone()
    return msgspec.convert(row, Offer)


async def redeem(connection: Connection, tenant_id: UUID, wanted: RedeemRequest, now: datetime) -> Redemption:
    """Hold the points, take the stock, write the redemption and the command that starts its workflow; answers the redemption.

    Raises UserNotFound, RewardNotFound, NotEligible, UserLimitReached, ValidationError, InsufficientPoints and OutOfStock.
    The last piece of stock is guarded by a CHECK: its violation, which `out_of_stock` names, may come up as late as the
    end of a pipeline.
    Lock order: the user's limit, account, code, then stock. Users with too few points never touch the stock, and its lock is taken last.
    """
    offer = await find_offer(connection, tenant_id, wanted)
    if offer.user is None:
        raise UserNotFound(f"User '{wanted.external_user_id}' not found")
    if offer.reward is None:
        raise RewardNotFound("Reward not found")
    reward = chosen_variant(offer.reward, wanted.variant_id)
    check_available(reward, offer.user.attributes, now, tier=offer.tier)
    price = choose_price(reward, wanted.currency)
    if price.currency in offer.unspendable:  # since the reward was written
        raise NotEligible(f"'{price.currency}' cannot be spent")
    check_fields(reward.fields, wanted.fields, is_complete=not reward.requires_claim)
    new = NewRedemption(
        redemption_id=new_id(),
        user_id=offer.user.user_id,
        external_user_id=offer.user.external_id,
        reward_id=reward.reward_id,
        reward=reward_snapshot(reward),
        points_spent=price.amount,
        currency=price.currency,
        decimal_places=offer.places[price.currency],
        variant_id=wanted.variant_id,
        status=first_state(reward),
        by=wanted.by,
        fulfilment=fulfilment_copy(reward, offer.places),
        takes_stock=reward.stock is not None,
        stock_variant_id=wanted.variant_id if has_own_stock(reward, wanted.variant_id) else None,
        fields=wanted.fields,
        deadline_at=first_deadline(reward, now),
    )
    if reward.max_per_user is not None:
        await _check_limit(connection, tenant_id, new, limit=reward.max_per_user, period=limit_period(reward, offer.timezone, now))
    if price.amount > 0:
        await _hold_points(connection, tenant_id, new, now)
    await insert_redemption(connection, tenant_id, new, now)
    await kind_of(new.fulfilment).reserve(connection, tenant_id, new)
    if new.takes_stock:
        await take_stock(connection, tenant_id, reward.reward_id, new.stock_variant_id)
    return _as_kept(tenant_id, new, now)


async def _check_limit(connection: Connection, tenant_id: UUID, new: NewRedemption, *, limit: int, period: WindowSpan) -> None:
    """UserLimitReached when the user has had as many in this period. Until commit, the user's other redemptions of the reward wait."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"limit:{tenant_id}:{new.user_id}:{new.reward_id}",))
    cursor = await connection.execute(
        """
        SELECT count(*) AS n FROM redemption
        WHERE tenant_id = %(tenant_id)s AND user_id = %(user_id)s AND reward_id = %(reward_id)s AND source_type = 'purchase'
          AND status <> ALL(%(returned)s)
          AND (%(starts_at)s::timestamptz IS NULL OR created_at >= %(starts_at)s)
          AND (%(ends_at)s::timestamptz IS NULL OR created_at < %(ends_at)s)
        """,
        {
            "tenant_id": tenant_id,
            "user_id": new.user_id,
            "reward_id": new.reward_id,
            "returned": [state.value for state in RETURNED],
            "starts_at": period.starts_at,
            "ends_at": period.ends_at,
        },
    )
    row = await cursor.fetchone()
    if row is None or row["n"] >= limit:
        raise UserLimitReached(f"This user can have at most {limit} of this reward", limit=limit)


async def _hold_points(connection: Connection, tenant_id: UUID, new: NewRedemption, now: datetime) -> None:
    account = await ledger.lock_account(connection, tenant_id, new.user_id, str(new.currency), now=now)
    hold = place_hold(
        account, new.points_spent, hold_id=new_id(), redemption_id=new.redemption_id, decimal_places=new.decimal_places, now=now
    )
    await ledger.place_hold(connection, tenant_id, hold)


def _as_kept(tenant_id: UUID, new: NewRedemption, now: datetime) -> Redemption:
    """The row that `insert_redemption` writes, without reading it back."""
    return Redemption(
        tenant_id=tenant_id,
        redemption_id=new.redemption_id,
        user_id=new.user_id,
        external_user_id=new.external_user_id,
        reward_id=new.reward_id,
        reward=new.reward,
        variant_id=new.variant_id,
        source_type=new.source_type,
        source_id=new.source_id,
        status=new.status,
        flags=[],
        points_spent=new.points_spent,
        currency=new.currency,
        decimal_places=new.decimal_places,
        takes_stock=new.takes_stock,
        stock_variant_id=new.stock_variant_id,
        fields=new.fields,
        fulfillment_data={},
        failure_reason=None,
        fulfilment=new.fulfilment,
        created_at=now,
        updated_at=now,
        fulfilled_at=None,
        deadline_at=new.deadline_at,
    )


INSERT = """
INSERT INTO redemption (tenant_id, redemption_id, user_id, external_user_id, reward_id, reward, variant_id, source_type, source_id,
    status, points_spent, currency, decimal_places, takes_stock, stock_variant_id, fields, fulfilment, created_at, updated_at,
    deadline_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


async def insert_redemption(connection: Connection, tenant_id: UUID, new: NewRedemption, now: datetime) -> None:
    """Write a redemption, the first row of its timeline and the command that starts its workflow. Hold and stock are the caller's.

    Raises ValidationError when the filled-in fields are too large for a webhook's body.
    """
    check_size(new.fields)
    await connection.execute(INSERT, _columns(tenant_id, new, now))
    await write_timeline(connection, tenant_id, new.redemption_id, number=1, row=_first_row(new, now))
    await outbox.enqueue(connection, tenant_id, _start_of(tenant_id, new))


async def insert_redemptions(connection: Connection, tenant_id: UUID, many: Sequence[NewRedemption], now: datetime) -> None:
    """The same for many, without waiting for the server's answer to each."""
    if not many:
        return
    for new in many:
        check_size(new.fields)
    async with connection.cursor() as cursor:
        await cursor.executemany(INSERT, [_columns(tenant_id, new, now) for new in many])
        await cursor.executemany(INSERT_MOVE, [timeline_columns(tenant_id, new.redemption_id, 1, _first_row(new, now)) for new in many])
    await outbox.enqueue_many(connection, tenant_id, [_start_of(tenant_id, new) for new in many])


def _columns(tenant_id: UUID, new: NewRedemption, now: datetime) -> tuple[object, ...]:
    return (
        tenant_id,
        new.redemption_id,
        new.user_id,
        new.external_user_id,
        new.reward_id,
        Jsonb(new.reward),
        new.variant_id,
        new.source_type,
        new.source_id,
        new.status.value,
        new.points_spent,
        new.currency,
        new.decimal_places,
        new.takes_stock,
        new.stock_variant_id,
        Jsonb(new.fields),
        Jsonb(new.fulfilment),
        now,
        now,
        new.deadline_at,
    )


def _first_row(new: NewRedemption, now: datetime) -> TimelineRow:
    return TimelineRow(at=now, from_status=None, to_status=new.status.value, by=new.by, note=new.note)


def _start_of(tenant_id: UUID, new: NewRedemption) -> outbox.OutboxCommand:
    return start_entry(
        tenant_id,
        new.redemption_id,
        external_user_id=new.external_user_id,
        reward=new.reward,
        status=new.status,
        source_type=new.source_type,
    )
