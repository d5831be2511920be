"""Whose work an activity does: what it asks of PostgreSQL counts to that tenant's share (`runtime/shares.py`)."""

from typing import Any

from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from runtime.shares import Asker, asking


class _Naming(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        tenant_id = getattr(input.args[0], "tenant_id", None) if input.args else None
        if tenant_id is not None:
            asking.set(Asker(tenant_id, ""))
        return await super().execute_activity(input)


class TenantTurns(Interceptor):
    """Notes the tenant of each activity whose input names one; what is for all tenants waits for nobody's turn."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Stand before the activity."""
        return _Naming(next)
