"""Redemptions through Temporal, beside workflows that do nothing on the same server: how many a second, and how soon the webhook goes."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Literal

import msgspec
import psycopg

from benchmarks.bench import Bench
from benchmarks.load import Loaded
from benchmarks.measure import REPOSITORY, BenchError, Comparison, Meter, Sample, in_process, latency, rate, sample_of
from benchmarks.redeem import REDEMPTION_TABLES, make_users
from benchmarks.stack import Server, run_part
from benchmarks.workflow_driver import Plan
from runtime.search_attributes import SEARCH_ATTRIBUTES
from stack import processes, temporal

SLUG, USER = "bench-delivered", "served"
AT_A_TIME = 16
SHORTEST_SECONDS = 4.0
MOST_PER_SECOND = 10_000


@contextmanager
def workflows(bench: Bench) -> Iterator[list[Comparison]]:
    """A Temporal development server, the product's worker, a worker for trivial workflows, and a partner that answers at once."""
    stack = bench.stack
    server_port, ui_port, receiver_port = (processes.free_port() for _ in range(3))
    address = f"127.0.0.1:{server_port}"
    options = {"LAUREL_TEMPORAL_ADDRESS": address, "LAUREL_WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8"}
    settings = msgspec.structs.replace(stack.settings, temporal_address=address)
    with ExitStack() as parts:
        command = temporal.command(
            stack.directory / "temporal.db", server_port, ui_port, SEARCH_ATTRIBUTES, log=stack.directory / "temporal.log"
        )
        server = run_part(parts, command, processes.start(command))
        processes.wait_ready(server, command, lambda: temporal.ready(server_port))
        with psycopg.connect(settings.database_url, autocommit=True) as connection:
            connection.execute(f"TRUNCATE {REDEMPTION_TABLES} CASCADE".encode())  # other parts' commands: their workflows are nobody's
        pids = {"temporal": server.pid}
        for name, argv in (
            ("worker", ("-m", "cli", "worker", "--data-dir", str(stack.directory))),
            ("trivial", ("-m", "benchmarks.trivial")),
        ):
            environ = {**stack.environ, **options}
            log = stack.directory / f"{name}.log"
            started = processes.Command(name=name, argv=(sys.executable, *argv), log=log, environment=environ, directory=REPOSITORY)
            pids[name] = run_part(parts, started, processes.start(started)).pid
        api = parts.enter_context(stack.server("api", options))
        set_stage(bench, api, f"http://127.0.0.1:{receiver_port}/hook")

        def measure(work: Literal["redeem", "trivial"], *, idle: bool) -> Sample:
            plan = Plan(
                settings=settings,
                tenant_id=bench.tenant_id,
                api_port=api.port,
                receiver_port=receiver_port,
                key=bench.api_key,
                slug=SLUG,
                user=USER,
                work=work,
                idle=idle,
                at_a_time=1 if idle else AT_A_TIME,
                seconds=max(SHORTEST_SECONDS, bench.seconds),
            )
            return sample_of(*in_process("benchmarks.workflow_driver", plan, Loaded, Meter({**api.meter.pids, **pids})))

        many = rate("redemption workflows, webhook and callback", "trivial workflows, same server", 0.4, "workflows/s")
        soon = latency("redeem → webhook arrives, idle, p50", "trivial workflow, not eager, start → result", 0.5, "p50")
        yield [
            Comparison(
                path=partial(measure, "redeem", idle=idle),
                floor=partial(measure, "trivial", idle=idle),
                rows=[row],
                most_pairs=1 if bench.quick else None,
            )
            for idle, row in ((True, soon), (False, many))
        ]


def set_stage(bench: Bench, api: Server, url: str) -> None:
    """A partner's endpoint, a reward that it fulfils, a user with points."""
    make_users(bench, [USER])
    with bench.admin(api) as client:
        endpoint = client.post(
            "/v1/admin/webhook-endpoints", json={"url": url, "events": ["webhook.test"], "rate_per_second": MOST_PER_SECOND}
        )
        fulfilment = {"type": "webhook", "endpoint_id": endpoint.json().get("endpoint_id"), "deadline_seconds": 600}
        prices = [{"currency": "points", "amount": 1}]
        reward = client.post("/v1/admin/rewards", json={"slug": SLUG, "name": "Delivered", "prices": prices, "fulfilment": fulfilment})
    for answer in (endpoint, reward):
        if answer.status_code != 201:
            raise BenchError(f"the stage was not set: {answer.status_code} {answer.text[:400]}")
