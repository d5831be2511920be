"""Every recorded history replays: workflows that run while a new version is deployed go on."""

import json
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from runtime.temporal import DATA_CONVERTER
from tests.recording import HISTORIES
from workflows.endpoint import EndpointWorkflow
from workflows.erasure import EraseUserWorkflow
from workflows.payout import PayoutRunWorkflow
from workflows.platform import PlatformTaskWorkflow
from workflows.redemption import RedemptionWorkflow
from workflows.reversal import RedemptionReversalWorkflow
from workflows.schedule import PayoutScheduleWorkflow
from workflows.scoring import ScoringWorkflow
from workflows.window import LeaderboardWindowWorkflow

WORKFLOWS = {
    each.__name__: each
    for each in (
        EndpointWorkflow,
        EraseUserWorkflow,
        LeaderboardWindowWorkflow,
        PayoutRunWorkflow,
        PayoutScheduleWorkflow,
        PlatformTaskWorkflow,
        RedemptionReversalWorkflow,
        RedemptionWorkflow,
        ScoringWorkflow,
    )
}


def type_of(path: Path) -> str:
    started = json.loads(path.read_text())["events"][0]["workflowExecutionStartedEventAttributes"]
    return str(started["workflowType"]["name"])


RECORDED = [path for path in sorted(HISTORIES.glob("*.json")) if type_of(path) in WORKFLOWS]


def test_each_of_these_workflows_has_a_recorded_history() -> None:
    assert {type_of(path) for path in RECORDED} == set(WORKFLOWS)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
async def test_a_recorded_history_replays(path: Path) -> None:
    history = WorkflowHistory.from_json(path.stem, path.read_text())
    replayer = Replayer(
        workflows=[WORKFLOWS[type_of(path)]],
        data_converter=DATA_CONVERTER,
        workflow_runner=UnsandboxedWorkflowRunner(),
        debug_mode=True,  # else two seconds without a turn on a busy core are taken for a deadlock
    )
    await replayer.replay_workflow(history)
