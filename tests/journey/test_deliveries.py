"""Test, resend, recover and rotate over HTTP, with `laurel receiver` as the partner and the Standard Webhooks library as the judge."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from domain.webhook.webhook import make_secret
from tests.conftest import REPOSITORY, Stack
from tests.journey.programme import add_reward, eventually, fresh, post
from tests.node_packages import with_packages

ENDPOINTS = "/v1/admin/webhook-endpoints"


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    with stack.client() as opened:
        yield opened


class Partner:
    """A running `laurel receiver`."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def lines(self, kind: str = "webhook") -> list[dict[str, Any]]:
        whole, _, _ = self._log.read_text().rpartition("\n")  # the last line may still be on its way
        found = [json.loads(line) for line in whole.split("\n") if line.startswith("{")]
        return [line for line in found if line["kind"] == kind]

    @property
    def url(self) -> str:
        return str(eventually(lambda: self.lines("listening"))[0]["url"])

    def webhooks(self, count: int) -> list[dict[str, Any]]:
        """The first `count` webhooks, once they are there."""
        return eventually(lambda: len(self.lines()) >= count and self.lines())


@contextmanager
def a_receiver(directory: Path, *options: str) -> Iterator[Partner]:
    log = directory / f"{fresh('receiver')}.log"
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "cli", "receiver", *options], cwd=REPOSITORY, stdout=output, stderr=output)
    try:
        yield Partner(log)
    finally:
        process.kill()
        process.wait()


def answers(*texts: str) -> list[str]:
    return [part for text in texts for part in ("--answer", text)]


@contextmanager
def an_endpoint(client: httpx.Client, url: str, **more: Any) -> Iterator[dict[str, Any]]:
    made = post(client, ENDPOINTS, {"url": url, "events": ["webhook.test"], "retry_delays_seconds": [], **more})
    yield made
    client.delete(f"{ENDPOINTS}/{made['endpoint_id']}")


def delivery_in(client: httpx.Client, delivery_id: str, state: str, attempts: int = 1) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        read = dict(client.get(f"/v1/admin/deliveries/{delivery_id}").json())
        done = read["state"] == state and len(read["attempts"]) == attempts and all(each["ended_at"] for each in read["attempts"])
        return read if done else None

    return eventually(look)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_test_goes_the_real_path_and_is_resent_with_the_same_bytes(client, tmp_path):
    with a_receiver(tmp_path, *answers("500;body=no", "200")) as partner, an_endpoint(client, partner.url) as endpoint:
        sent = post(client, f"{ENDPOINTS}/{endpoint['endpoint_id']}/test", {}, 202)
        assert (sent["event"], sent["state"]) == ("webhook.test", "pending")
        failed = delivery_in(client, sent["delivery_id"], "exhausted")
        assert failed["attempts"][0]["trigger"] == "test"
        assert (failed["last_error"], failed["attempts"][0]["answer_head"]) == ("http_500", "no")
        post(client, f"/v1/admin/deliveries/{sent['delivery_id']}/resend", {}, 202)
        settled = delivery_in(client, sent["delivery_id"], "delivered", 2)
        assert [(each["number"], each["trigger"]) for each in settled["attempts"]] == [(1, "test"), (2, "manual")]
        first, second = partner.webhooks(2)
        assert first["body"] == second["body"]
        assert (first["delivery_id"], second["attempt"]) == (second["delivery_id"], "2")
        assert list(json.loads(first["body"])) == ["event", "endpoint_id", "timestamp"]
        filters = {"endpoint_id": endpoint["endpoint_id"], "event": "webhook.test", "state": "delivered", "from": sent["created_at"]}
        listed = client.get("/v1/admin/deliveries", params=filters).json()["deliveries"]
        assert [line["delivery_id"] for line in listed] == [sent["delivery_id"]]
        assert client.get("/v1/admin/deliveries", params={**filters, "to": sent["created_at"]}).json()["deliveries"] == []


def test_tests_are_limited_and_refused_while_the_endpoint_is_off(client):
    with an_endpoint(client, "http://127.0.0.1:9/") as endpoint:
        address = f"{ENDPOINTS}/{endpoint['endpoint_id']}"
        sent = post(client, f"{address}/test", {}, 202)
        delivery_in(client, sent["delivery_id"], "exhausted")
        client.post(f"{address}/disable")
        assert code(client.post(f"{address}/test")) == (409, "INVALID_STATE")
        assert code(client.post(f"/v1/admin/deliveries/{sent['delivery_id']}/resend")) == (409, "INVALID_STATE")
        assert code(client.post(f"{address}/recover", json={"since": "2020-01-01T00:00:00Z"})) == (409, "INVALID_STATE")
        client.post(f"{address}/enable")
        statuses = [client.post(f"{address}/test").status_code for _ in range(11)]
        # The first test counts too, unless its minute is over.
        assert statuses in ([202] * 9 + [429] * 2, [202] * 10 + [429])
    assert code(client.post(f"{address}/test")) == (404, "NOT_FOUND")
    assert code(client.get("/v1/admin/deliveries", params={"event": "nothing"})) == (400, "VALIDATION_ERROR")


def redeem(client: httpx.Client, endpoint: dict[str, Any]) -> str:
    user, slug = fresh("user"), add_reward(client, price=0, endpoint_id=endpoint["endpoint_id"])
    post(client, "/v1/users", {"external_id": user})
    return str(post(client, "/v1/redemptions", {"external_user_id": user, "slug": slug})["redemption_id"])


def test_what_failed_is_recovered_and_its_redemption_goes_on(client, tmp_path):
    with a_receiver(tmp_path, *answers("reset", "503", "200")) as partner, an_endpoint(client, partner.url) as endpoint:
        wanted = [redeem(client, endpoint), redeem(client, endpoint)]

        def flagged() -> bool:
            return all(client.get(f"/v1/redemptions/{each}").json()["flags"] == ["delivery_exhausted"] for each in wanted)

        eventually(flagged)
        recover = f"{ENDPOINTS}/{endpoint['endpoint_id']}/recover"
        assert code(client.post(recover, json={"since": "yesterday"})) == (400, "VALIDATION_ERROR")
        assert post(client, recover, {"since": "2099-01-01T00:00:00Z"}, 202) == {"recovered": 0}
        assert post(client, recover, {"since": "2020-01-01T00:00:00Z"}, 202) == {"recovered": 2}
        for each in wanted:
            eventually(lambda each=each: client.get(f"/v1/redemptions/{each}").json()["status"] == "processing")
            settled = client.get(f"/v1/redemptions/{each}").json()
            assert settled["flags"] == []
            assert [(line["state"], line["attempts"]) for line in settled["deliveries"]] == [("delivered", 2)]
        assert [line["attempt"] for line in partner.webhooks(4)] == ["1", "1", "2", "2"]


def test_an_order_that_is_over_is_not_recovered(client, tmp_path):
    with a_receiver(tmp_path, *answers("503")) as partner, an_endpoint(client, partner.url) as endpoint:
        over, open_one = redeem(client, endpoint), redeem(client, endpoint)
        for each in (over, open_one):
            eventually(lambda each=each: client.get(f"/v1/redemptions/{each}").json()["flags"] == ["delivery_exhausted"])
        post(client, f"/v1/admin/redemptions/{over}/cancel", {"reason": "refunded"}, 200)
        (asked,) = client.get("/v1/admin/deliveries", params={"redemption_id": over, "event": "reward_redeemed"}).json()["deliveries"]
        assert code(client.post(f"/v1/admin/deliveries/{asked['delivery_id']}/resend")) == (409, "INVALID_STATE")
        recover = f"{ENDPOINTS}/{endpoint['endpoint_id']}/recover"
        assert post(client, recover, {"since": "2020-01-01T00:00:00Z"}, 202) == {"recovered": 1}
        sent = [line["body"] for line in partner.webhooks(3)]
        assert [open_one in str(body) for body in sent][2], "a refunded order must not be fulfilled"


def by_node(directory: Path, secrets: list[str], webhook: dict[str, Any]) -> list[str]:
    """What the Standard Webhooks library for Node says of the webhook with each secret: its event, or the refusal."""
    folder = with_packages("tests/node", directory)
    given = json.dumps({"secrets": secrets, "headers": webhook["headers"], "body": webhook["body"]})
    done = subprocess.run(["node", str(folder / "verify.mjs")], input=given, capture_output=True, text=True, check=True, timeout=300)
    return list(json.loads(done.stdout))


def test_during_a_rotation_the_old_and_the_new_secret_verify(client, tmp_path):
    with a_receiver(tmp_path) as partner, an_endpoint(client, partner.url) as endpoint:
        address = f"{ENDPOINTS}/{endpoint['endpoint_id']}"
        new = client.post(f"{address}/rotate-secret", json={"overlap_seconds": 3600}).json()["secret"]
        assert code(client.post(f"{address}/rotate-secret", json={})) == (409, "INVALID_STATE")
        post(client, f"{address}/test", {}, 202)
        (got,) = partner.webhooks(1)
        for secret in (endpoint["secret"], new):
            assert Webhook(secret).verify(got["body"], got["headers"])
        signatures = got["headers"]["webhook-signature"].split(" ")
        assert len(signatures) == 2
        newest = Webhook(new).verify(got["body"], {**got["headers"], "webhook-signature": signatures[0]})
        assert newest["event"] == "webhook.test"
    with a_receiver(tmp_path, "--secret", new) as partner, an_endpoint(client, partner.url, secret=new) as endpoint:
        post(client, f"{ENDPOINTS}/{endpoint['endpoint_id']}/test", {}, 202)
        (got,) = partner.webhooks(1)
        assert (got["seed_signature"], got["standard_signature"], got["recent"], got["answer"]) == (True, True, True, 200)


def test_during_a_rotation_the_library_for_node_verifies_with_either_secret(client, tmp_path):
    with a_receiver(tmp_path) as partner, an_endpoint(client, partner.url) as endpoint:
        address = f"{ENDPOINTS}/{endpoint['endpoint_id']}"
        new = client.post(f"{address}/rotate-secret", json={"overlap_seconds": 3600}).json()["secret"]
        post(client, f"{address}/test", {}, 202)
        (got,) = partner.webhooks(1)
    right, wrong = "webhook.test", "WebhookVerificationError: No matching signature found"
    assert by_node(tmp_path, [endpoint["secret"], new, make_secret(b"x" * 32)], got) == [right, right, wrong]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("redirect=http://127.0.0.1:1/", "redirect"),
        ("hang", "timeout"),
        ("drip=0.3", "timeout"),
        ("reset", "reset"),
        ("huge=3000000", None),
    ],
)
def test_every_bad_answer_is_named(client, tmp_path, answer, error):
    patience = 1 if error == "timeout" else 30
    with a_receiver(tmp_path, "--answer", answer) as partner, an_endpoint(client, partner.url, timeout_seconds=patience) as endpoint:
        sent = post(client, f"{ENDPOINTS}/{endpoint['endpoint_id']}/test", {}, 202)
        (attempt,) = delivery_in(client, sent["delivery_id"], "exhausted" if error else "delivered")["attempts"]
        assert attempt["error_class"] == error
        assert len(attempt["answer_head"] or "") <= 8192


def test_a_receiver_refuses_a_script_that_makes_no_sense():
    done = subprocess.run([sys.executable, "-m", "cli", "receiver", "--answer", "700"], cwd=REPOSITORY, capture_output=True, check=False)
    assert done.returncode == 2
    assert b"is not a valid answer" in done.stdout + done.stderr


def test_a_redemption_whose_ladder_has_ended_is_resent_by_hand(client, tmp_path):
    with a_receiver(tmp_path, *answers("500", "200")) as partner, an_endpoint(client, partner.url) as endpoint:
        redemption_id = redeem(client, endpoint)
        path = f"/v1/admin/redemptions/{redemption_id}"
        eventually(lambda: "delivery_exhausted" in client.get(f"/v1/redemptions/{redemption_id}").json()["flags"])
        sent = post(client, f"{path}/resend", {"reason": "they are back"}, 200)
        assert sent["timeline"][-1]["note"] == "webhook resent: they are back"
        eventually(lambda: client.get(f"/v1/redemptions/{redemption_id}").json()["status"] == "processing")
        assert client.get(f"/v1/redemptions/{redemption_id}").json()["flags"] == []
        first, second = partner.webhooks(2)
        assert (first["body"], first["delivery_id"]) == (second["body"], second["delivery_id"])
        post(client, f"{path}/cancel", {"reason": "enough"}, 200)
        assert code(client.post(f"{path}/resend", json={})) == (409, "INVALID_STATE")


def test_a_redemption_that_had_no_endpoint_is_resent_once_there_is_one(client, tmp_path):
    user, slug = fresh("user"), fresh("reward")
    post(client, "/v1/users", {"external_id": user})
    with an_endpoint(client, "http://127.0.0.1:9/") as gone:
        add_reward(client, price=0, endpoint_id=gone["endpoint_id"], slug=slug)
    redemption = post(client, "/v1/redemptions", {"external_user_id": user, "slug": slug})["redemption_id"]
    eventually(lambda: client.get(f"/v1/redemptions/{redemption}").json()["flags"] == ["no_endpoint"])
    refused = client.post(f"/v1/admin/redemptions/{redemption}/resend", json={"reason": "try"})
    assert code(refused) == (409, "INVALID_STATE")
    assert refused.json()["error"]["present"] == "no_endpoint"
