"""The benchmark suite behind `laurel bench`: every path of the product beside its floor, in the same run (docs/performance.md)."""
