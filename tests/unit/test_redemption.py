"""The redemption's table of moves, its callbacks and its diagram."""

import itertools
import re

import pytest

import domain.redemption.redemption
from domain.errors import InvalidState
from domain.redemption.redemption import (
    CALLBACK_STATES,
    EFFECTS,
    FINAL,
    TRANSITIONS,
    Decision,
    Effect,
    RedemptionState,
    advance,
    decide_callback,
    effect_of,
)
from storage.tables.redemption import REDEMPTION_STATES


@pytest.mark.parametrize(("current", "new"), list(itertools.product(RedemptionState, RedemptionState)))
def test_a_move_is_made_or_refused_as_the_table_says(current, new):
    if new in TRANSITIONS[current]:
        assert advance(current, new) is new
    else:
        with pytest.raises(InvalidState) as refused:
            advance(current, new)
        assert refused.value.facts == {"present": current.value}


@pytest.mark.parametrize(("current", "wanted"), list(itertools.product(RedemptionState, sorted(CALLBACK_STATES))))
def test_a_callback_moves_repeats_or_comes_too_late(current, wanted):
    if current in (RedemptionState.PENDING_CLAIM, RedemptionState.PENDING_APPROVAL):
        with pytest.raises(InvalidState):
            decide_callback(current, wanted)
    elif current == wanted:
        assert decide_callback(current, wanted) is Decision.UNCHANGED
    elif current in FINAL:
        assert decide_callback(current, wanted) is Decision.REFUSED
    else:
        assert decide_callback(current, wanted) is Decision.MOVE


def test_the_database_knows_the_same_states():
    assert tuple(RedemptionState) == REDEMPTION_STATES


def test_the_diagram_is_the_table():
    lines = re.findall(r"^\s*(\w+) ──▶ (.+)$", domain.redemption.redemption.__doc__, re.MULTILINE)
    drawn = {RedemptionState(left): frozenset(RedemptionState(name) for name in right.split(" | ")) for left, right in lines}
    assert drawn == {state: moves for state, moves in TRANSITIONS.items() if moves}


def test_every_state_says_what_it_means():
    assert all(state.sentence.endswith(".") for state in RedemptionState)


def test_points_are_settled_on_entering_a_final_state_and_only_then():
    assert set(EFFECTS) == FINAL
    assert effect_of(RedemptionState.PROCESSING) is Effect.NONE
