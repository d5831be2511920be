"""`webhook`: a partner is asked for it and calls back. The delivery and its ladder are the workflow's (activities/redemption.py)."""

from storage.redemption.fulfilment.kind import Kind

KIND = Kind(begins="delivery")
