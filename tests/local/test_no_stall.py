"""No request waits half a second for nothing.

With a queue policy in config.pbtxt (``default_queue_policy``: a bound, a time-out or its override), Triton's scheduler sleeps until 500 ms
are over, for 3 to 12 % of the requests and with nothing else to do. See docs/benchmarks.md.
"""

import contextlib

import pytest

from benchmarks.load import PROTOCOLS, closed_loop, connect, stalls
from benchmarks.published import Published
from tests.local.stack import Stack

REQUESTS = 400


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_requests_one_after_the_other_do_not_stall(lite0: Stack, protocol: str) -> None:
    """One is forgiven, and so is a bad first try: other work can hold up a request as long. The policy costs a dozen every time."""
    question = Published.read(lite0.model_folder).question(0)
    address = f"127.0.0.1:{lite0.http if protocol == 'http' else lite0.grpc}"
    found = []
    with contextlib.closing(connect(protocol, address, question)) as client:
        for _ in range(2):
            found.append(stalls(closed_loop(client, question, requests=REQUESTS)))
            if found[-1] <= 1:
                return
    pytest.fail(f"of {REQUESTS} requests took 300 ms more than the median, in each of two tries: {found}")
