"""One mapping of refusals to Temporal: a `DomainError` will not go away by trying again."""

from collections.abc import Iterator
from contextlib import contextmanager

from temporalio.exceptions import ApplicationError

from domain.errors import DomainError


@contextmanager
def refusals_are_final() -> Iterator[None]:
    """Turn a `DomainError` into a non-retryable ApplicationError of its code; everything else is our own fault and is tried again."""
    try:
        yield
    except DomainError as error:
        raise ApplicationError(error.message, type=error.code, non_retryable=True) from error
