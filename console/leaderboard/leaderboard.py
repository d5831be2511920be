"""Leaderboards: the list, and a board with its live standings, windows, snapshots and what may be done to it."""

import asyncio
from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.response import Redirect

from console.format import listed
from console.i18n import _
from console.leaderboard.leaderboard_form import NAMES, weekday_names
from console.request import Visit

STANDINGS = 25
WINDOWS = 20
OPERATORS = {"eq": "=", "ne": "≠", "gt": ">", "gte": "≥", "lt": "<", "lte": "≤"}


def conditions_text(conditions: dict[str, dict[str, Any]]) -> str:
    """Conditions as people read them: `attrs.neutral = true, attrs.goals ≥ 2`."""
    said = []
    for path, tests in conditions.items():
        for operator, operand in tests.items():
            said.append(f"{path} {OPERATORS.get(operator, operator)} {_operand_text(operand)}")
    return ", ".join(said)


def _operand_text(operand: Any) -> str:
    if isinstance(operand, list):
        return listed((_operand_text(each) for each in operand), "or")
    return operand if isinstance(operand, str) else msgspec.json.encode(operand).decode()


@get("/leaderboards")
async def list_boards(visit: Visit) -> Response[bytes]:
    """The definitions; `status` picks one state."""
    wanted = {"status": visit.query("status"), "cursor": visit.query("cursor"), "limit": 50}
    found = await visit.api.read("/v1/admin/leaderboards", wanted)
    return visit.page("leaderboards/list.html", boards=found["leaderboards"], next_cursor=found["next_cursor"], total=found["total"])


@get("/leaderboards/{leaderboard_id:str}")
async def show_board(visit: Visit, leaderboard_id: str) -> Response[bytes]:
    """A board: standings of the present window or of `window`, from `offset` on or around `user`."""
    root = f"/v1/admin/leaderboards/{leaderboard_id}"
    board, windows = await asyncio.gather(
        visit.api.read(root), visit.api.read(f"{root}/windows", {"limit": WINDOWS, "cursor": visit.query("cursor")})
    )
    rescores = await visit.api.get(f"{root}/rescores", {"limit": 3})
    standings = await _standings(visit, leaderboard_id)
    window_key = visit.query("window") or (standings.body or {}).get("window_key", "")
    chosen = next((each for each in windows["windows"] if each["window_key"] == window_key), None)
    return visit.page(
        "leaderboards/show.html",
        board=board,
        windows=windows["windows"],
        next_cursor=windows["next_cursor"],
        standings=standings,
        window_key=window_key,
        chosen=chosen,
        rescores=(rescores.body or {}).get("rescores", []) if rescores.ok else [],
        conditions_text=conditions_text,
        names=NAMES,
        weekdays=weekday_names(),
        offset=_offset(visit),
        step=STANDINGS,
    )


def _offset(visit: Visit) -> int:
    text = visit.query("offset")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0


async def _standings(visit: Visit, leaderboard_id: str) -> Any:
    """The answer with the wanted entries; one that was refused is said on the page, which has more to show than standings."""
    wanted = {"window_key": visit.query("window")}
    if user := visit.query("user"):
        return await visit.api.get(f"/v1/leaderboards/{leaderboard_id}/user/{user}", wanted)
    return await visit.api.get(f"/v1/leaderboards/{leaderboard_id}", {**wanted, "limit": STANDINGS, "offset": _offset(visit)})


def _path(leaderboard_id: str) -> str:
    return f"/leaderboards/{leaderboard_id}"


@post("/leaderboards/{leaderboard_id:str}/windows/{window_key:str}/close")
async def close_window(visit: Visit, leaderboard_id: str, window_key: str) -> Redirect:
    """End a window now."""
    address = f"/v1/admin/leaderboards/{leaderboard_id}/windows/{window_key}/close"
    answer = await visit.api.post(address, reason=visit.form.text("reason"))
    return visit.done(_path(leaderboard_id), answer.error, _("The window is closing: events accepted before are being counted."))


@post("/leaderboards/{leaderboard_id:str}/windows/{window_key:str}/pay")
async def pay_window(visit: Visit, leaderboard_id: str, window_key: str) -> Redirect:
    """Take up a payout that stopped."""
    address = f"/v1/admin/leaderboards/{leaderboard_id}/windows/{window_key}/payout"
    answer = await visit.api.post(address, reason=visit.form.text("reason"))
    return visit.done(_path(leaderboard_id), answer.error, _("The payout resumes where it stopped. Nobody is paid twice."))


@post("/leaderboards/{leaderboard_id:str}/windows/{window_key:str}/rescore")
async def rescore_window(visit: Visit, leaderboard_id: str, window_key: str) -> Redirect:
    """Build an open window anew from the event log."""
    address = f"/v1/admin/leaderboards/{leaderboard_id}/rescore"
    answer = await visit.api.post(address, {"window_key": window_key}, reason=visit.form.text("reason"))
    return visit.done(_path(leaderboard_id), answer.error, _("Rescoring the window. The current standings stay visible until it's done."))


@post("/leaderboards/{leaderboard_id:str}/archive")
async def archive_board(visit: Visit, leaderboard_id: str) -> Redirect:
    """Archive the board."""
    answer = await visit.api.delete(f"/v1/admin/leaderboards/{leaderboard_id}", reason=visit.form.text("reason"))
    return visit.done("/leaderboards", answer.error, _("Leaderboard archived."))


routes = [list_boards, show_board, close_window, pay_window, rescore_window, archive_board]
