"""Programs that measure; docs/benchmarks.md has what they found, and how to run them."""
