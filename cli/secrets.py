"""`laurel rotate-secrets`: what the database keeps sealed is sealed with the present LAUREL_SECRET_KEY."""

import asyncio
from pathlib import Path

import rich_click as click
from rich.console import Console
from rich.progress import Progress

from runtime import postgres
from runtime.crypto import Vault
from runtime.postgres import acting, name_actor
from runtime.settings import Settings
from stack.data_directory import data_dir_option, settings_for
from storage.webhook.endpoint import SECRET_PURPOSE, count_secrets_to_seal_again, seal_again, secrets_to_seal_again

BATCH = 500


async def rotate(settings: Settings) -> int:
    """Seal again, in batches, what a previous key has sealed; answers how many. UnsealError for one that no known key opens."""
    vault = Vault(settings.secret_key, settings.secret_key_previous)
    prefix, done, console = vault.seal_prefix(SECRET_PURPOSE), 0, Console(stderr=True)
    connection = await postgres.connect(settings.session_url, "rotate-secrets")
    acting.set(("command:rotate-secrets", "the secret key was changed"))
    async with connection:
        with Progress(console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task("webhook secrets", total=await count_secrets_to_seal_again(connection, prefix))
            while True:
                async with connection.transaction():
                    await name_actor(connection)
                    found = await secrets_to_seal_again(connection, prefix, BATCH)
                    for tenant_id, secret_id, sealed in found:
                        again = vault.seal(vault.open(sealed, SECRET_PURPOSE), SECRET_PURPOSE)
                        await seal_again(connection, tenant_id, secret_id, again)
                done += len(found)
                progress.update(task, completed=done)
                if len(found) < BATCH:
                    return done
                if not console.is_terminal:
                    console.print(f"{done} secrets sealed again")


@click.command("rotate-secrets")
@data_dir_option
def rotate_secrets(data_dir: Path) -> None:
    """Re-encrypt every stored secret with the current LAUREL_SECRET_KEY. A second run finds nothing to do."""
    done = asyncio.run(rotate(settings_for(data_dir)))
    click.echo(f"{done} secrets sealed again", err=True)
