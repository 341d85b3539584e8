"""The gate lets an engine through that answers as the original does, and tells by which numbers it refuses."""

import numpy as np
import pytest

from services.builder.verify import TOLERANCES, compare, demand, load_golden, summary
from services.core.errors import AccuracyError, ContractError

EXPECTED = np.array([[0.70, 0.20, 0.10], [0.05, 0.05, 0.90], [0.34, 0.33, 0.33]], np.float32)


def changed(row: int, column: int, by: float) -> np.ndarray:
    scores = EXPECTED.copy()
    scores[row, column] += by
    return scores


def test_equal_scores_pass_at_every_precision():
    for precision in TOLERANCES:
        accuracy = compare(EXPECTED, EXPECTED, precision)
        demand(accuracy, "the engine")
        assert (accuracy.samples, accuracy.top1_agreement, accuracy.max_error, accuracy.mean_error) == (3, 1.0, 0.0, 0.0)


def test_tolerances_are_fractions_of_the_largest_score():
    accuracy = compare(100 * EXPECTED, 100 * EXPECTED, "fp32")
    assert accuracy.max_error_tolerance == pytest.approx(0.01 * 90)
    assert accuracy.mean_error_tolerance == pytest.approx(0.001 * 90)


def test_errors_are_measured_on_the_scores():
    accuracy = compare(changed(0, 1, -0.09), EXPECTED, "bf16")
    assert accuracy.max_error == pytest.approx(0.09, rel=1e-6)
    assert accuracy.mean_error == pytest.approx(0.09 / 9, rel=1e-6)


def test_a_refusal_tells_what_was_found_and_what_was_expected():
    with pytest.raises(AccuracyError) as caught:
        demand(compare(changed(1, 2, -0.5), EXPECTED, "fp32"), "the fp16 engine")
    message = str(caught.value)
    assert message.startswith("the fp16 engine disagrees with the original model on 3 golden samples: ")
    assert "the largest error is 0.5, expected at most 0.009" in message
    assert "the mean error is 0.0556, expected at most 0.0009" in message
    assert "top-1" not in message
    assert "nothing was published" in caught.value.hint


def test_a_wrong_first_class_is_refused_by_the_share_of_right_ones():
    swapped = EXPECTED[:, [2, 1, 0]]
    with pytest.raises(AccuracyError, match=r"top-1 agreement is 33\.3%, expected at least 85\.0%"):
        demand(compare(swapped, EXPECTED, "int8"), "the engine")


def test_a_near_tie_may_be_decided_either_way():
    """Row 2 of the original is 0.34, 0.33, 0.33: its second class first is rounding, no other answer."""
    tie = changed(2, 1, 0.015)
    accuracy = compare(tie, EXPECTED, "fp16")
    assert tie[2].argmax() == 1
    assert accuracy.top1_agreement == 1.0
    demand(accuracy, "the engine")


def test_beyond_a_near_tie_another_class_is_another_answer():
    scores = changed(0, 1, 0.6)
    assert compare(scores, EXPECTED, "fp16").top1_agreement == pytest.approx(2 / 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("precision", TOLERANCES)
def test_one_number_that_is_none_is_refused_at_every_precision(value, precision):
    scores = EXPECTED.copy()
    scores[1, 0] = value
    with pytest.raises(AccuracyError, match=r"largest error is inf.*mean error is inf"):
        demand(compare(scores, EXPECTED, precision), "the engine")


@pytest.mark.parametrize("scores", [EXPECTED[:1], EXPECTED[:, :2], EXPECTED[0], EXPECTED[..., None]])
def test_scores_of_another_shape_are_not_stretched_to_fit(scores):
    with pytest.raises(AccuracyError, match=r"the scores have the shape .*, the original model's \[3, 3\]"):
        compare(scores, EXPECTED, "fp32")


def test_summary_has_both_numbers():
    text = summary(compare(changed(0, 0, 0.002), EXPECTED, "fp32"))
    assert "largest error 0.002 (tolerance 0.009)" in text
    assert "3 golden samples" in text


def test_golden_set_round_trip(tmp_path):
    inputs = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    np.savez(tmp_path / "golden.npz", inputs=inputs, scores=EXPECTED)
    found = load_golden(tmp_path / "golden.npz")
    assert [array.dtype for array in found] == [np.uint8, np.float32]
    np.testing.assert_array_equal(found[0], inputs)
    np.testing.assert_array_equal(found[1], EXPECTED)


def golden_bytes(tmp_path, **arrays) -> bytes:
    np.savez(tmp_path / "whole.npz", **arrays)
    return (tmp_path / "whole.npz").read_bytes()


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated", "flipped bit", "no scores", "objects"])
def test_a_damaged_golden_set_is_named(tmp_path, damage):
    path = tmp_path / "golden.npz"
    whole = golden_bytes(tmp_path, inputs=np.zeros((2, 4), np.uint8), scores=EXPECTED)
    if damage != "missing":
        path.write_bytes(
            {
                "empty": b"",
                "text": b"no archive",
                "truncated": whole[: len(whole) // 2],
                "flipped bit": whole.replace(EXPECTED.tobytes()[:4], b"\0\0\0\0"),
                "no scores": golden_bytes(tmp_path, inputs=np.zeros(2, np.uint8)),
                "objects": golden_bytes(tmp_path, inputs=np.array([{}], object), scores=EXPECTED),
            }[damage]
        )
    with pytest.raises(ContractError, match=f"{path} is no golden set") as caught:
        load_golden(path)
    assert "run the exporter" in caught.value.hint
