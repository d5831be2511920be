"""Temporal's visibility: which workflows say of themselves that they have problems."""

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

PATIENCE_SECONDS = 3.0
PROBLEMS = "TemporalReportedProblems"
"""Built in since Temporal 1.28; set by the server when a workflow's tasks fail again and again, cleared when they do not."""


class TemporalAway(Exception):
    """Temporal did not answer in time, or refused."""


class Troubled(msgspec.Struct, frozen=True, kw_only=True):
    """A running workflow with problems, in the server's words (`category=…`, `cause=…`)."""

    workflow_id: str
    workflow_type: str
    started_at: datetime
    problems: list[str]


async def troubled_workflows(client: Client, tenant_id: UUID, limit: int) -> list[Troubled] | None:
    """The tenant's running workflows with reported problems; None where the server does not know of such. Raises `TemporalAway`."""
    query = f'TenantId = "{tenant_id}" AND ExecutionStatus = "Running" AND {PROBLEMS} IS NOT NULL'
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            found = [each async for each in client.list_workflows(query, limit=limit, rpc_timeout=timedelta(seconds=PATIENCE_SECONDS))]
    except RPCError as error:
        if error.status is RPCStatusCode.INVALID_ARGUMENT:
            return None
        raise TemporalAway(error.message) from error
    except (TimeoutError, RuntimeError) as error:
        raise TemporalAway(str(error)) from error
    return [
        Troubled(
            workflow_id=each.id,
            workflow_type=each.workflow_type,
            started_at=each.start_time,
            problems=[str(said) for said in each.search_attributes.get(PROBLEMS, [])],
        )
        for each in found
    ]
