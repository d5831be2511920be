"""`laurel screenshots`: a picture of every page of the console, so that people look at what they have made."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import rich_click as click

from stack.data_directory import StackFile, data_dir_option, read_stack

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking")
PAGES_UNDER_A_LINK = 4
LOAD_MILLISECONDS = 60_000


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """How a round of pictures is taken."""

    name: str
    width: int
    height: int
    language: str = "en-GB"
    colours: str = "light"


LOOKS = (
    Look(name="light", width=1400, height=900),
    Look(name="dark", width=1400, height=900, colours="dark"),
    Look(name="phone", width=390, height=844),
    Look(name="vi", width=1400, height=900, language="vi-VN"),
)
FIND_PAGES = """
([above, most]) => {
    const shapes = new Map();
    for (const link of document.querySelectorAll("main a[href^='/console/']:not([download])")) {
        const url = new URL(link.href), path = url.pathname;
        if (!path.startsWith(above + "/") || path.split("/").length > above.split("/").length + 2) continue;
        const shape = path.endsWith("/new") ? "new" : path.slice(above.length + 1).split("/").slice(url.search ? 0 : 1).join("/");
        if (!shapes.has(shape)) shapes.set(shape, path + url.search);
    }
    return [...shapes.values()].slice(0, most);
}
"""
"""Of the links of a page, one of each kind below it: a board, a board's window, the form for a new one."""


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--only", multiple=True, metavar="TEXT", help="Only pages whose path holds this text; may be given several times.")
@data_dir_option
def screenshots(directory: Path, only: tuple[str, ...], data_dir: Path) -> None:
    """Take a picture of every page of a running stack's console: light, dark, on a phone, and in Vietnamese.

    The pictures go into DIRECTORY, with an index.html to leaf through them. Needs Chromium on this machine.
    """
    stack = read_stack(data_dir)
    if not stack.console_email:
        raise SystemExit("laurel screenshots: this stack has no demo tenant to sign in to")
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        raise SystemExit("laurel screenshots: there is no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    directory.mkdir(parents=True, exist_ok=True)
    taken: list[Path] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(OPTIONS))
        for look in LOOKS:
            for path in take_round(browser, stack, look, directory, only=only):
                click.echo(path, err=True)
                taken.append(path)
        browser.close()
    write_index(directory, taken)
    click.echo(directory / "index.html")


def take_round(browser: Any, stack: StackFile, look: Look, directory: Path, *, only: tuple[str, ...]) -> Iterator[Path]:
    """Every page in one look; answers the files as they are written."""
    context = browser.new_context(
        viewport={"width": look.width, "height": look.height}, locale=look.language, color_scheme=look.colours, reduced_motion="reduce"
    )
    context.set_default_timeout(LOAD_MILLISECONDS)
    page = context.new_page()
    root = stack.console_url.rstrip("/").removesuffix("/console")
    page.goto(f"{root}/console/sign-in")
    yield take(page, directory, look)
    page.fill("input[type=email]", stack.console_email)
    page.fill("input[type=password]", stack.console_password)
    page.click("button.primary")
    page.wait_for_url("**/console/dashboard")
    links = page.eval_on_selector_all("nav a[href^='/console/']", "links => links.map(link => new URL(link.href).pathname)")
    for link in dict.fromkeys(links):
        waiting, seen = [link], {link}
        while waiting:
            path = waiting.pop(0)
            if only and not any(text in path for text in only) and path != link:
                continue
            page.goto(root + path)
            if not only or any(text in path for text in only):
                yield take(page, directory, look)
            found = page.evaluate(FIND_PAGES, [urlsplit(path).path, PAGES_UNDER_A_LINK])
            found += page.eval_on_selector_all(".tabs a", "links => links.map(link => new URL(link.href).pathname)")
            waiting += [each for each in dict.fromkeys(found) if each not in seen]
            seen |= set(found)
    context.close()


def take(page: Any, directory: Path, look: Look) -> Path:
    """A picture of the whole page; ids in its address do not go into the file's name."""
    parts = [part for part in urlsplit(page.url).path.split("/") if part and part != "console"]
    name = "-".join(part if len(part) < 24 else "one" for part in parts) or "begin"
    path = directory / f"{name}.{look.name}.png"
    page.screenshot(path=path, full_page=True)
    return path


def write_index(directory: Path, taken: list[Path]) -> None:
    """A page with all pictures, those of one page side by side."""
    names = dict.fromkeys(path.name.rsplit(".", 2)[0] for path in taken)
    looks = [look.name for look in LOOKS]
    cells = {name: " ".join(f"<a href={name}.{look}.png><img src={name}.{look}.png></a>" for look in looks) for name in names}
    rows = "".join(f"<h2>{name}</h2><p>{cell}</p>" for name, cell in cells.items())
    style = "body{font:15px system-ui;margin:2rem}img{max-width:23%;max-height:420px;border:1px solid #ccc;vertical-align:top}"
    directory.joinpath("index.html").write_text(f"<!doctype html><meta charset=utf-8><title>Laurel</title><style>{style}</style>{rows}")
