"""The platform's own schedules, as the operator sees them on a running stack."""

import time

import httpx

from tests.conftest import Stack

NAMES = ["pending-activation", "points-expiry", "tier-review", "clean-up"]


def test_the_operator_lists_pauses_resumes_and_triggers_them(stack: Stack) -> None:
    with stack.client("operator_key") as operator:
        shown = operator.get("/v1/operator/platform-schedules").json()["platform_schedules"]
        assert [one["name"] for one in shown] == NAMES
        assert all(one["state"] == "active" and one["next_run_at"] for one in shown)
        path = "/v1/operator/platform-schedules/clean-up"
        paused = operator.post(f"{path}/pause", json={"note": "not now"}).json()
        assert (paused["state"], paused["note"], paused["next_run_at"]) == ("paused", "not now", None)
        assert operator.post(f"{path}/trigger", json={}).status_code == 202
        until = time.monotonic() + 60
        while (found := operator.get("/v1/operator/platform-schedules").json()["platform_schedules"][3])["last_run_at"] is None:
            assert time.monotonic() < until, found
            time.sleep(0.2)
        assert found["state"] == "paused"
        assert found["last_workflow_id"].startswith("platform:clean-up")
        assert operator.post(f"{path}/resume", json={}).json()["state"] == "active"
        assert operator.post("/v1/operator/platform-schedules/nothing/trigger", json={}).status_code == 404
    assert httpx.get(f"{stack.described['api_url']}/v1/operator/platform-schedules", timeout=60.0).status_code == 401
