"""Python's cyclic garbage collector, for processes that handle many short-lived objects (docs/performance.md)."""

import gc


def tune_gc() -> None:
    """Look at what lives since the start never again, and at the rest seldom: call it once the process is set up.

    What events and requests make goes when its last reference goes; the collector looks at all of it again and again, and finds nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
