"""Where the time goes, from two looks at the server's statistics."""

import pytest

from benchmarks.bench.breakdown import PARTS, Counters, breakdown

MS = 1_000_000


def stats(requests, *, success, queue, times, batches=()):
    """As the server gives them; times in ms, of all requests together; a batch is (size, executions, times of all executions)."""
    names = ("compute_input", "compute_infer", "compute_output")
    spent = {name: {"count": requests, "ns": value * MS} for name, value in zip(names, times, strict=True)}
    sized = [
        {"batch_size": size, **{name: {"count": count, "ns": value * MS} for name, value in zip(names, spent_in, strict=True)}}
        for size, count, spent_in in batches
    ]
    found = {"success": {"count": requests, "ns": success * MS}, "queue": {"count": requests, "ns": queue * MS}, **spent}
    return {"model_stats": [{"name": "net", "version": "1", "inference_stats": found, "batch_stats": sized}]}


NOTHING = Counters.of(stats(0, success=0, queue=0, times=(0, 0, 0)))


def test_parts_of_pixels_are_those_of_the_model_and_sum_to_what_the_client_saw():
    before = Counters.of(stats(100, success=1000, queue=100, times=(10, 800, 20), batches=[(1, 100, (10, 800, 20))]))
    after = Counters.of(stats(110, success=1120, queue=130, times=(11, 880, 23), batches=[(1, 110, (11, 880, 23))]))
    found = breakdown(0.015, after.since(before))
    assert found == pytest.approx({"queue": 3, "decode": 0, "input": 0.1, "compute": 8, "output": 0.3, "other": 0.6, "wire": 3})
    assert tuple(found) == PARTS
    assert sum(found.values()) == pytest.approx(15)


def test_decoding_is_what_the_image_model_takes_beyond_the_model():
    """Ten pictures in two batches of 4 and one of 2; a picture waits for all of its batch, so larger ones weigh more."""
    model = Counters.of(stats(3, success=99, queue=3, times=(0, 0, 0), batches=[(4, 2, (2, 40, 0)), (2, 1, (0.5, 10, 0))]))
    image = Counters.of(stats(10, success=350, queue=50, times=(1, 290, 2), batches=[(4, 2, (0, 0, 0)), (2, 1, (0, 0, 0))]))
    found = breakdown(0.036, model, image)
    compute = (8 * 20 + 2 * 10) / 10
    taken = (8 * 1 + 2 * 0.5) / 10
    assert found["compute"] == pytest.approx(compute)
    assert found["decode"] == pytest.approx(29 - compute - taken - 1)
    assert found["queue"] == pytest.approx(5 + 1)
    assert found["input"] == pytest.approx(taken + 0.1)
    assert found["wire"] == pytest.approx(1)
    assert sum(found.values()) == pytest.approx(36)


def test_no_part_is_negative_where_noise_would_make_it_so():
    model = Counters.of(stats(10, success=100, queue=10, times=(1, 88, 2), batches=[(1, 10, (1, 88, 2))]))
    image = Counters.of(stats(10, success=95, queue=0, times=(0, 95, 0), batches=[(1, 10, (0, 95, 0))]))
    assert min(breakdown(0.009, model, image).values()) == 0


def test_versions_are_taken_together():
    one = stats(1, success=10, queue=1, times=(1, 7, 1), batches=[(1, 1, (1, 7, 1))])
    both = {"model_stats": one["model_stats"] * 2}
    assert Counters.of(both).requests == 2
    assert Counters.of(both).times["success"] == 20 * MS


@pytest.mark.parametrize("reset", [True, False])
def test_counters_that_say_nothing_give_nothing(reset):
    """No request in between; or the model was loaded anew, and counts from 0 again."""
    before = Counters.of(stats(5, success=50, queue=1, times=(1, 40, 1), batches=[(1, 5, (1, 40, 1))]))
    after = Counters.of(stats(6, success=12, queue=1, times=(1, 9, 1), batches=[(1, 6, (1, 9, 1))])) if reset else before
    assert breakdown(0.01, after.since(before)) == {}
    assert breakdown(0.01, NOTHING) == {}
