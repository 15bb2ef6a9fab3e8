"""Measures lading's server beside Python's others: ``python -m benchmarks.serving``; docs/benchmarks.md."""
