import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from runtime.postgres import Pool
from tests.builders.store import make_world

REPOSITORY = Path(__file__).parent.parent.parent


def verify(database_url: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"LAUREL_DATABASE_URL": database_url, "LAUREL_SECRET_KEY": "a secret key that only the tests use"}
    command = [sys.executable, "-m", "cli", "verify-ledger"]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60, check=False)


async def test_the_command_leaves_with_1_and_names_the_offending_ids(pool: Pool, postgres_url: str):
    world = await make_world(pool)
    ann = await world.user("ann", 100)
    right = verify(postgres_url)
    assert (right.returncode, right.stdout) == (0, ""), right.stderr
    assert "the ledger is right" in right.stderr
    await world.rows("UPDATE account SET posted = posted + 1 RETURNING 1")
    broken = verify(postgres_url)
    assert broken.returncode == 1
    account = await world.account(ann)
    assert str(account.account_id) in broken.stdout
    assert str(world.tenant_id) in broken.stdout
    assert "every balance equals its transfers" in broken.stdout


async def test_a_balance_beyond_its_bound_is_found_may_be_spent_and_does_not_grow(pool: Pool) -> None:
    world = await make_world(pool)
    await world.user("ann", 100)
    grow = "UPDATE account SET posted = posted + %s RETURNING 1"
    with pytest.raises(psycopg.errors.CheckViolation):
        await world.rows(grow, (2**53 - 100,))
    await world.rows(grow, (2**53 - 101,))
    async with pool.connection() as connection:  # as an earlier release could
        await connection.execute("ALTER TABLE account DISABLE TRIGGER balance_grows_within_bound")
        await connection.execute("UPDATE account SET posted = posted + 50")
        await connection.execute("ALTER TABLE account ENABLE TRIGGER balance_grows_within_bound")
    await world.rows(grow, (-1,))
    with pytest.raises(psycopg.errors.CheckViolation):
        await world.rows(grow, (1,))
    found = {finding.promise: finding.detail for finding in await world.findings()}
    assert found["no balance is more than a JSON number carries"] == f"posted and pending {2**53 + 48}, at most {2**53 - 1}"
