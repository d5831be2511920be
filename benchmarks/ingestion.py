"""Accepting events: what a request costs, single events, bulk, and how long an acknowledgement takes."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks import event
from benchmarks.bench import TOKEN_LENGTH, Bench
from benchmarks.driver import Plan
from benchmarks.load import Loaded
from benchmarks.measure import Comparison, Quantile, Row, Sample, in_process, latency, rate, sample_of
from benchmarks.stack import Server

BULK = 100
DIRECT_BATCH = 1000
BULK_CONNECTIONS = 16
ACK_GOALS: tuple[tuple[Quantile, float], ...] = (("p50", 1.5), ("p99", 2.0))
HELLO = [["GET /hello HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"]]


def singles(bench: Bench) -> list[list[str]]:
    """Single events of all users, in turn."""
    return [event.single_request(bench.api_key, number, TOKEN_LENGTH) for number in range(event.USERS)]


def send_singles(bench: Bench, server: Server, connections: int = 64) -> Sample:
    """Single events on an empty log."""
    bench.empty_log()
    return bench.drive(server, singles(bench), status=202, connections=connections)


def send_hello(bench: Bench, server: Server) -> Sample:
    """What the server itself can do."""
    return bench.drive(server, HELLO, status=200)


@contextmanager
def accept(bench: Bench) -> Iterator[list[Comparison]]:
    """CPU of one accepted event, without storage, beside the same server's hello."""
    with ExitStack() as servers:
        off = servers.enter_context(bench.stack.server("storage_off"))
        hello = servers.enter_context(bench.stack.server("hello"))
        row = Row(
            path="accept an event, CPU (storage off)",
            beside="ASGI hello of the same server",
            unit="µs/request",
            goal=1.9,
            bound="at most",
            value=lambda pair: pair.path.cpu_us("api"),
            floor=lambda pair: pair.floor.cpu_us("api"),
        )
        yield [Comparison(path=lambda: send_singles(bench, off), floor=lambda: send_hello(bench, hello), rows=[row])]


@contextmanager
def single(bench: Bench) -> Iterator[list[Comparison]]:
    """Durable single events at c=64, beside one insert per request and beside no storage at all; and their p99 beside their p50."""
    with ExitStack() as servers:
        api, each, off = (servers.enter_context(bench.stack.server(variant)) for variant in ("api", "insert_each", "storage_off"))
        naive = rate("single events, durable, c=64", "one insert per request, same front end", 3.8)
        bare = rate("single events, durable, of what the handler can do", "same handler, storage off", 0.75)
        tail = Row(
            path="ack at c=64, p99",
            beside="its own p50",
            unit="ms",
            goal=2.5,
            bound="at most",
            value=lambda pair: pair.path.p99_ms or 0.0,
            floor=lambda pair: pair.path.p50_ms or 0.0,
        )
        yield [
            Comparison(path=lambda: send_singles(bench, api), floor=lambda: send_singles(bench, each), rows=[naive, tail]),
            Comparison(path=lambda: send_singles(bench, api), floor=lambda: send_singles(bench, off), rows=[bare]),
        ]


@contextmanager
def ack(bench: Bench) -> Iterator[list[Comparison]]:
    """The acknowledgement at c=1, beside the driver's autocommit insert by the same statement."""
    with bench.stack.server("api") as api:
        yield [
            Comparison(
                path=lambda: send_singles(bench, api, connections=1),
                floor=lambda: insert_directly(bench, connections=1, batch=1),
                rows=[latency(f"ack at c=1, {which}", "driver's autocommit insert", goal, which) for which, goal in ACK_GOALS],
            )
        ]


@contextmanager
def bulk(bench: Bench) -> Iterator[list[Comparison]]:
    """Bulk calls of 100 at c=16, beside the best direct statement over two connections."""
    requests = [event.bulk_request(bench.api_key, number, BULK, TOKEN_LENGTH) for number in range(20)]

    def send(server: Server) -> Sample:
        bench.empty_log()
        return bench.drive(server, requests, status=202, connections=BULK_CONNECTIONS, units=BULK)

    with bench.stack.server("api") as api:
        row = rate("bulk of 100, durable", f"append_events, 2 connections, {DIRECT_BATCH} a batch", 0.8)
        yield [Comparison(path=lambda: send(api), floor=lambda: insert_directly(bench, connections=2, batch=DIRECT_BATCH), rows=[row])]


def insert_directly(bench: Bench, *, connections: int, batch: int) -> Sample:
    """The same statement by a bare driver."""
    bench.empty_log()
    plan = Plan(
        database_url=bench.stack.settings.database_url,
        tenant_id=bench.tenant_id,
        connections=connections,
        batch=batch,
        seconds=bench.seconds,
        token_prefix=bench.token_prefix(),
        scoring_partitions=bench.stack.settings.scoring_partitions,
    )
    return sample_of(*in_process("benchmarks.driver", plan, Loaded, bench.meter), units=batch)
