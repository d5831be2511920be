"""The stylesheet and the script, under addresses that change with their content, so that browsers may keep them for ever."""

import hashlib
from functools import lru_cache
from pathlib import Path

import msgspec
from litestar import Response, get

from console.errors import PageError

STATIC = Path(__file__).parent / "static"
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
FOREVER = "public, max-age=31536000, immutable"


class StaticFile(msgspec.Struct, frozen=True):
    """A file as it is served."""

    name: str
    content: bytes
    media_type: str


@lru_cache(maxsize=1)
def files() -> dict[str, StaticFile]:
    """Every static file by its own name (`console.css`), under the name with its hash (`console.0f3a….css`)."""
    found = {}
    for path in sorted(STATIC.iterdir()):
        if path.suffix in TYPES:
            content = path.read_bytes()
            mark = hashlib.sha256(content).hexdigest()[:12]
            found[path.name] = StaticFile(f"{path.stem}.{mark}{path.suffix}", content, TYPES[path.suffix])
    return found


def static_url(name: str) -> str:
    """The address of a static file."""
    return f"/console/static/{files()[name].name}"


@get("/static/{file_name:str}")
async def serve_static(file_name: str) -> Response[bytes]:
    """A static file by its hashed name; one of an older version answers 404, no page asks for it."""
    found = next((file for file in files().values() if file.name == file_name), None)
    if found is None:
        raise PageError(404)
    return Response(found.content, media_type=found.media_type, headers={"Cache-Control": FOREVER})


routes = [serve_static]
