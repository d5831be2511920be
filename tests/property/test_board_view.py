"""What a client holds after an update is what the view holds, whatever changed."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import ValidationError
from domain.leaderboard.view import (
    All,
    AroundUser,
    Configure,
    RequestPage,
    TopN,
    Users,
    Wanted,
    difference,
    read_request,
    wanted_after,
)


class Line(msgspec.Struct, frozen=True):
    rank: int
    user_id: str
    score: int


views = st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(st.integers(1, 9), st.integers(0, 3))).map(
    lambda lines: sorted((Line(rank, user, score) for user, (rank, score) in lines.items()), key=lambda line: (line.rank, line.user_id))
)


@settings(deadline=None)
@given(before=views, after=views)
def test_applying_the_difference_gives_what_the_view_holds(before: list[Line], after: list[Line]) -> None:
    changed, removed = difference(before, after)
    held = {line.user_id: line for line in before}
    for user in removed:
        del held[user]
    for line, previous_rank in changed:
        assert previous_rank == (held[line.user_id].rank if line.user_id in held else None)
        assert held.get(line.user_id) != line
        held[line.user_id] = line
    assert held == {line.user_id: line for line in after}


def test_what_a_client_asks_for_is_remembered() -> None:
    wanted = wanted_after(Wanted(), Configure(page=3, page_size=20))
    assert (wanted.first, wanted.limit) == (40, 20)
    assert wanted_after(wanted, Configure(window_key="all")) == msgspec.structs.replace(wanted, window_key="all")
    assert wanted_after(wanted, RequestPage(page=1)).page_size == 20
    assert wanted_after(wanted, Configure(filter=TopN(n=50))).page == 1
    last = wanted_after(wanted, Configure(filter=TopN(n=50), page=3))
    assert (last.first, last.limit) == (40, 10)
    assert wanted_after(last, Configure(page=9)).limit == 0
    assert wanted_after(last, Configure(filter=All())).limit == 20


def test_filters_are_read() -> None:
    assert read_request(b'{"type":"configure","filter":{"type":"around_user","user_id":"u"}}') == Configure(filter=AroundUser(user_id="u"))
    asked = read_request(b'{"type":"configure","filter":{"type":"users","user_ids":["a","b"]}}')
    assert asked == Configure(filter=Users(user_ids=("a", "b")))
    with pytest.raises(ValidationError):
        read_request(b'{"type":"configure","filter":{"type":"around_user","user_id":"u","range":250}}')
    with pytest.raises(ValidationError):
        wanted_after(Wanted(page_size=500), Configure(page=1_000_000))
