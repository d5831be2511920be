"""`manual`: a person finishes it in the console, or a system of the tenant's by the callback."""

from storage.redemption.fulfilment.kind import Kind

KIND = Kind(begins="by_hand")
