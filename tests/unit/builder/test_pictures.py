"""The user's own pictures: calibration and evaluation."""

import numpy as np
import pytest
from PIL import Image

from services.builder.pictures import LabelledFolder, calibration_inputs, demand_evaluation, evaluate
from services.core.errors import AccuracyError, SettingsError
from services.core.record import Evaluation
from services.images.decode import MAX_PIXELS

LABELS = ("red", "green", "blue")
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


@pytest.fixture
def preprocessing(make_card):
    return make_card().preprocessing


@pytest.fixture
def labelled(tmp_path):
    """Two plain pictures per class."""
    for name, colour in COLOURS.items():
        (tmp_path / name).mkdir()
        for index in range(2):
            Image.new("RGB", (12, 12), colour).save(tmp_path / name / f"{index}.png")
    return tmp_path


def brightest_channel(inputs):
    return inputs.astype(np.float32).mean(axis=(1, 2))


def always_red(inputs):
    return np.tile(np.array([3.0, 2.0, 1.0], np.float32), (len(inputs), 1))


def test_evaluation_counts_right_answers_before_and_after(labelled, preprocessing):
    found = evaluate(LabelledFolder.read(labelled, LABELS), preprocessing, brightest_channel, always_red, MAX_PIXELS)
    assert (found.images, found.top1_before, found.top1) == (6, 1.0, pytest.approx(1 / 3))
    assert (found.top5_before, found.top5) == (1.0, 1.0)
    with pytest.raises(AccuracyError, match=r"fell from 100\.00% to 33\.33% at int8"):
        demand_evaluation(found, "int8")


def test_one_picture_is_forgiven_and_a_second_is_not():
    lost = [Evaluation(images=20, top1_before=1, top5_before=1, top1=1 - count / 20, top5=1) for count in (1, 2)]
    demand_evaluation(lost[0], "fp32")
    with pytest.raises(AccuracyError):
        demand_evaluation(lost[1], "fp32")


def test_folders_are_named_by_label_by_index_or_stand_in_order(labelled):
    def classes():
        return [index for _, index in LabelledFolder.read(labelled, LABELS).pictures]

    assert sorted(classes()) == [0, 0, 1, 1, 2, 2]
    for index, name in enumerate(LABELS):
        (labelled / name).rename(labelled / str(index))
    assert classes() == [0, 0, 1, 1, 2, 2]
    for index, name in enumerate(("a", "b", "c")):
        (labelled / str(index)).rename(labelled / name)
    assert classes() == [0, 0, 1, 1, 2, 2]
    (labelled / "c").rename(labelled / "2")
    (labelled / "b" / "0.png").unlink()
    with pytest.raises(SettingsError, match="holds no pictures"):
        LabelledFolder.read(labelled / "a", LABELS)


def test_a_folder_that_is_no_class_is_named(labelled):
    (labelled / "purple").mkdir()
    with pytest.raises(SettingsError, match="'purple' is no class of the model"):
        LabelledFolder.read(labelled, LABELS)


def test_calibration_takes_the_folders_pictures_and_passes_over_what_is_none(labelled, preprocessing, caplog):
    (labelled / "red" / "broken.png").write_bytes(b"no picture")
    inputs, warning = calibration_inputs(labelled, preprocessing, np.zeros((4, 8, 8, 3), np.uint8), MAX_PIXELS)
    assert inputs.shape == (6, 8, 8, 3)
    assert inputs.dtype == np.uint8
    assert warning == ""
    assert "broken.png" in caplog.text


def test_calibration_without_pictures_says_that_it_stands_for_nothing(tmp_path, preprocessing):
    golden = np.zeros((4, 8, 8, 3), np.uint8)
    inputs, warning = calibration_inputs(None, preprocessing, golden, MAX_PIXELS)
    assert inputs is golden
    assert "do not stand for your pictures" in warning
    with pytest.raises(SettingsError, match="holds no picture"):
        calibration_inputs(tmp_path, preprocessing, golden, MAX_PIXELS)
