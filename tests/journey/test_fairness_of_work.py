"""What a worker does for a good tenant goes on beside a hostile tenant's work: orders' webhooks beside those of a partner that hangs."""

import socket
import time
from statistics import median
from threading import Thread

from tests.fairness import Pair, until
from tests.journey.programme import add_endpoint, add_reward, give_points, post, receiver

ORDERS, CLIENTS = 240, 4
SAMPLES = 7
FACTOR = 4.0
SLACK_SECONDS = 0.5
"""An order takes three steps in Temporal, each behind the little that the worker has in hand. Without turns the ratio was 10 to 60."""


def test_a_partner_that_hangs_slows_no_other_tenants_webhook(pair: Pair) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=500) as silent, receiver() as partner:
        endpoint, _ = add_endpoint(pair.good, partner.url)
        mine = add_reward(pair.good, price=1, endpoint_id=endpoint)
        give_points(pair.good, "ann", 1000)
        hanging, _ = add_endpoint(foe := pair.foe(), f"http://127.0.0.1:{silent.getsockname()[1]}/hook")
        theirs = add_reward(foe, price=1, endpoint_id=hanging)
        give_points(foe, "eve", 1000)

        def told() -> float:
            begun = time.perf_counter()
            order = post(pair.good, "/v1/redemptions", {"external_user_id": "ann", "slug": mine})["redemption_id"]
            until(lambda: partner.of(order))
            return time.perf_counter() - begun

        def flood() -> None:
            client = pair.foe()
            for _ in range(ORDERS // CLIENTS):
                post(client, "/v1/redemptions", {"external_user_id": "eve", "slug": theirs})

        told()
        alone = median(told() for _ in range(SAMPLES))
        floods = [Thread(target=flood) for _ in range(CLIENTS)]
        for each in floods:
            each.start()
        for each in floods:
            each.join()
        beside = median(told() for _ in range(SAMPLES))
        print(f"{alone * 1000:.0f} ms alone, {beside * 1000:.0f} ms beside")
        foe.delete(f"/v1/admin/webhook-endpoints/{hanging}").raise_for_status()  # what it is owed is no later test's load
        assert beside <= FACTOR * alone + SLACK_SECONDS
