"""`laurel openapi`: the API document without a running server. `docs/openapi.json` is its output; a guard test keeps it current."""

from typing import Any

import msgspec
import rich_click as click


def api_document() -> dict[str, Any]:
    """The API document of this version. Nothing is connected: the settings only have to be well formed."""
    from api.document import document_of
    from runtime.settings import load_settings
    from server import create_app

    settings = load_settings({"LAUREL_DATABASE_URL": "postgresql://nowhere", "LAUREL_SECRET_KEY": "0123456789" * 4})
    return document_of(create_app(settings).application)


def formatted(document: dict[str, Any]) -> str:
    """The document as it is committed: indented, in the order of the paths, with a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n"


@click.command()
def openapi() -> None:
    """Print the API document (OpenAPI 3) to standard output."""
    click.echo(formatted(api_document()), nl=False)
