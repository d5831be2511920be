"""Walks over the rows of all tenants, page by page in the order of their keys.

A page that begins anew each time shows the same rows for ever when they keep their place, and whatever stands behind them is never seen.
"""

from uuid import UUID

Place = tuple[UUID, UUID]
"""(tenant, id) of the last row of a page."""

FIRST: Place = (UUID(int=0), UUID(int=0))
"""Before every row."""
