"""A page for a link of the navigation that no module has yet."""

from typing import Any

from litestar import Response, get

from console.nav import Entry
from console.visit import Visit


def page_of(entry: Entry) -> Any:
    """The handler of a page that only has its name."""

    @get(entry.path, name=f"coming:{entry.path}")
    async def show(visit: Visit) -> Response[bytes]:
        return visit.page("coming.html", label=entry.label)

    return show
