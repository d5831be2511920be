"""Tiers: the tenant's set, shown and edited as a whole."""

from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.response import Redirect

from console.client import Refusal
from console.i18n import N_, _
from console.json_field import amount, decoded, json_text, refusal_of, whole
from console.request import Visit

ROOT = "/v1/admin/tiers"
BASES = {
    "lifetime_earned": N_("all points ever earned"),
    "earned_in_period": N_("points earned in the period"),
    "balance": N_("points in the balance"),
}
DOWNGRADES = {"never": N_("tiers are never lost"), "at_period_end": N_("re-evaluated at the end of each period")}
COLUMNS = ("name", "level", "threshold", "benefits")


async def _page(
    visit: Visit, tiers: dict[str, Any], rows: list[dict[str, str]], version: str, *, error: Refusal | None = None
) -> Response[bytes]:
    return visit.page(
        "tiers/show.html",
        status=400 if error else 200,
        tiers=tiers,
        rows=[*rows, dict.fromkeys(COLUMNS, "")],
        version=version,
        error=error,
        errors=error.fields if error else {},
        bases=BASES,
        downgrades=DOWNGRADES,
    )


@get("/tiers")
async def show_tiers(visit: Visit) -> Response[bytes]:
    """The set; with `edit` as a form."""
    tiers = await visit.api.read(ROOT, {"limit": 200})
    rows = [{name: json_text(each[name]) if name == "benefits" else str(each[name]) for name in COLUMNS} for each in tiers["tiers"]]
    return await _page(visit, tiers, rows, str(tiers["version"]))


@post("/tiers")
async def replace_tiers(visit: Visit) -> Response[bytes] | Redirect:
    """Replace the set, unless somebody else did so since the form was opened."""
    form, unreadable = visit.form, dict[str, str]()
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*(form.all(name) for name in COLUMNS), strict=False)]
    rows = [row for row in rows if row["name"]]
    body: dict[str, Any] = {
        "basis": form.text("basis") or "lifetime_earned",
        "downgrade": form.text("downgrade") or "never",
        "period_days": whole(form.text("period_days")) if form.text("period_days") else None,
        "tiers": [
            {
                "name": row["name"],
                "level": whole(row["level"] or str(place)),
                "threshold": amount(row["threshold"] or "0"),
                "benefits": decoded(row["benefits"], f"tiers[{place}].benefits", unreadable, empty={}),
            }
            for place, row in enumerate(rows)
        ],
    }
    version = form.text("version")
    error = refusal_of(unreadable)
    if error is None:
        answer = await visit.api.put(
            ROOT,
            body,
            reason=form.text("reason"),
            version=given if isinstance(given := whole(version), int) else None,
        )
        error = answer.error
    if error is None:
        return visit.go("/tiers", good=_("Saved. Users are re-evaluated when their points next change."))
    shown = msgspec.convert(body, dict[str, Any]) | {"tiers": body["tiers"], "version": version}
    return await _page(visit, shown, rows, version, error=error)


routes = [show_tiers, replace_tiers]
