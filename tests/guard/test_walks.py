"""Who takes a page goes on to the next: what stands behind a page that begins anew each time is never seen (`storage/walk.py`).

A statement with a LIMIT stands in a function that can be told where to begin, or in one of the tables below with its reason. A function
that reads a page of all tenants is walked by `pages`, whatever its caller does with the rows.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FOLDERS = ("activities", "api", "cli", "console", "loops", "stack", "storage", "workflows")
PLACES = {"after", "before", "place", "first"}
"""Parameters that tell where a page begins."""
BY_FILTER = {
    "list_deliveries": "`Filter.before`",
    "list_grants": "`GrantFilter.before`",
    "list_runs": "`RunFilter.before`",
    "page_of_redemptions": "`Filter.before`",
    "events_of": "the cursor of the stretch",
    "lane_events": "the position of the lane",
    "COUNT_EVENTS": "the position of the rollup's cursor",
    "DUE": "the place of `expire_page` and `notice_page`",
    "PREVIEW": "the first recipients of a run that was not made; how many there would be is told beside them",
}
"""Told where to begin by other means."""
SHRINKING = {
    "lease_due": "what is leased is not due; the relay goes on while there is some",
    "lock_due": "what was claimed is not due; the pump goes on while there is some",
    "forget_deliveries": "what is deleted is gone; `_while_full` goes on while pages are full",
    "forget_erased_names": "the same",
    "forget_token_entries": "the same",
    "forget_answers": "the same",
    "forget_sent": "the same",
    "forget_dead_letters": "the same",
    "delete_standings": "the same, in the rescore's own loop",
    "end_periods": "a user whose period has ended has the next one; `_until_none` goes on while there is some",
    "secrets_to_seal_again": "what is sealed again has the new prefix; the command goes on while pages are full",
    "TELL": "what was told has a row of its own and is not found again; the sweep goes on while pages are full",
    "RESERVE_MANY": "codes that are reserved are not free; as many as are wanted, or none",
}
"""Each page leaves what is to be found smaller, so the next one begins behind it."""
COUNTED = {
    "GAUGES": "up to 10 000, which the metric says",
    "totals": "up to a number that the page shows with a “+”",
    "redemptions_by_state": "the same",
    "first_steps": "whether one of the latest deliveries arrived",
    "redeemed_since": "the same “+”",
    "count_stuck": "the same “+”",
    "HEALTH": "the latest attempts, as a sample",
}
"""No rows: how many there are, up to a bound that is shown."""
FIRST_ONES = {
    "list_sessions": "the sessions used last; all of them can be ended at once",
    "earnings_of": "of one event, which each rule rewards once",
    "events_of_id": "events of one id, by their senders",
    "stuck_deliveries": "the largest heaps of what waits for a person, who works them off",
    "late_redemptions": "the same",
    "flagged_redemptions": "the same",
    "open_dead_letters": "the same; `list_dead_letters` walks them",
    "unsent_commands": "the same",
    "verify": "as many findings of a check as a person reads",
    "snapshots_of": "the latest ends of a board's windows; `windows_before` walks them",
    "live_secrets": "an endpoint has two secrets at most, during a rotation",
    "_current": "the best `n` of a board are the audience",
    "_write_entries": "the best of a window, as many as the board's snapshot keeps",
    "GROWN": "the tables that have grown by most; once analysed they have not",
    "windows_changed_lately": "what was lost a moment ago is among these; `windows_of_partition` walks all",
}
"""Only the first ones are wanted, for the reason that stands here."""
WALKED_ELSEWHERE = {
    "list_tenants": "the operator's list, page by page over the API",
    "activate_page": "the place is kept in the run's cursor, in the workflow (`activities/platform.py`)",
    "expire_page": "the same",
    "notice_page": "the same",
    "review_changed_sets": "the same",
    "windows_of_partition": "`Publisher._page`, which `pages` walks and `_walked` remembers",
    **{name: reason for name, reason in SHRINKING.items() if name.startswith("forget_")},
}
"""Pages of all tenants that somebody else walks than `pages`."""


def storage() -> Iterator[tuple[str, ast.stmt]]:
    """(name, code) of each function, method and constant."""
    for path in sorted((REPOSITORY / "storage").rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            for inner in node.body if isinstance(node, ast.ClassDef) else [node]:
                targets = getattr(inner, "targets", [getattr(inner, "target", None)])
                yield getattr(inner, "name", "") or ",".join(getattr(target, "id", "") for target in targets), inner


def parameters(node: ast.AST) -> set[str]:
    arguments = getattr(node, "args", None)
    return {each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)} if arguments else set()


def takes_a_page(node: ast.AST) -> bool:
    """Whether there is a statement in it that ends after so many rows, but one."""
    texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return any(limit.rstrip(")") != "1" for text in texts for limit in re.findall(r"\bLIMIT\s+([^\s,\"]*)", text) if "LIMIT" in text)


def test_a_page_can_be_told_where_to_begin() -> None:
    pages = {name: node for name, node in storage() if takes_a_page(node)}
    excused = {**BY_FILTER, **SHRINKING, **COUNTED, **FIRST_ONES}
    assert len(excused) == len(BY_FILTER) + len(SHRINKING) + len(COUNTED) + len(FIRST_ONES), "each has one reason"
    # An age ("before this instant") is no place, so what deletes by age stands in its table too.
    bare = {name for name, node in pages.items() if not parameters(node) & PLACES or name in SHRINKING}
    assert bare - excused.keys() == set(), "give it an `after`, and walk it by `storage.walk.pages`"
    assert excused.keys() - pages.keys() == set(), "these are no more"


def test_pages_of_all_tenants_are_walked() -> None:
    """By `pages(pool, lambda connection, after: page_of(connection, …, after, …), place)`: nobody writes the loop again and forgets one."""
    of_all = {
        name
        for name, node in storage()
        if isinstance(node, ast.AsyncFunctionDef) and parameters(node) & PLACES and "tenant_id" not in parameters(node)
        if takes_a_page(node)
    } | {"expire_page", "notice_page"}
    walked, unwalked = set(), []
    for folder in FOLDERS:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            tree = ast.parse(path.read_text())
            inside = {
                id(part)
                for call in ast.walk(tree)
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "pages"
                for part in ast.walk(call.args[1])
            }
            for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
                name = ast.unparse(call.func).rpartition(".")[2]
                if name not in of_all or name in WALKED_ELSEWHERE:
                    continue
                if id(call) in inside:
                    walked.add(name)
                else:
                    unwalked.append(f"{path.relative_to(REPOSITORY)}:{call.lineno} {name}")
    assert not unwalked
    assert of_all - walked - WALKED_ELSEWHERE.keys() == set(), "nobody walks these"


DECODERS = re.compile(r"\b(?:msgspec\.convert|load_\w+|_\w+)\(")
"""What reads a row's content, and may not know what is in it."""
ALONE = {
    "tier_sets": "scoring asks for one tenant at a time (`KnownTenants`); all others are about one tenant",
}
"""Those that read rows of several tenants and fail with any of them."""


def test_a_row_that_cannot_be_read_fails_no_page_of_all_tenants() -> None:
    """What reads rows without being told whose decodes each by itself: by `walk_page`, or `readable`."""
    guilty = set()
    for name, node in storage():
        if not isinstance(node, ast.AsyncFunctionDef) or ("tenant_id" in parameters(node) and name != "every_open_window"):
            continue
        comprehensions = [each for each in ast.walk(node) if isinstance(each, ast.ListComp | ast.DictComp)]
        for each in comprehensions:
            made = each.elt if isinstance(each, ast.ListComp) else each.value
            if "fetchall" in ast.unparse(each.generators[0].iter) and DECODERS.search(ast.unparse(made)):
                guilty.add(name)
    assert guilty == ALONE.keys()


def test_whoever_asks_for_a_first_page_alone_asks_for_all_there_may_be() -> None:
    """`after=None` in a call is no walk: then the limit is the bound of the definitions themselves, or the first one is meant."""
    guilty = []
    for folder in FOLDERS:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
                named = {each.arg: ast.unparse(each.value) for each in call.keywords}
                begins = any(named.get(place) == "None" for place in PLACES)
                if begins and not re.fullmatch(r"1|limits\.[A-Z_]+\.value", named.get("limit", "1")):
                    guilty.append(f"{path.relative_to(REPOSITORY)}:{call.lineno}")
    assert not guilty
