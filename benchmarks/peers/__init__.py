"""This product beside other servers, on one machine, in one run: ``python -m benchmarks.peers --help``."""
