"""Decoding with the real DALI: on a processor, and where there is a GPU, on that too; the pipeline is the same."""

import base64
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from nvidia.dali import Pipeline
from PIL import Image

from services.core.card import Preprocessing
from services.core.errors import ImageError, ToolError
from services.images.decode import decode
from services.images.preprocess import InputArray, input_from_file, input_from_image
from services.triton import gpu_decoder
from services.triton.dali import MOST_FILES, Dali
from services.triton.decoder import Decoder, Picture
from services.triton.gpu_decoder import GpuDecoder, decoder
from tests.unit.images.pictures import STORED, encoded, jpeg, noise, photograph, recipe

MOST_PIXELS, MOST_BYTES = 20_000_000, 8 << 20
DEVICES = [None, *([0] if Path("/dev/nvidia0").exists() else [])]
# Of 255, mean and largest difference from the exact pixels; Pillow rounds between its two passes, and cuts off what bicubic overshoots.
EXACT = {"bilinear": (0.25, 1), "bicubic": (0.35, 6)}
NOISE = {"bilinear": (0.25, 1), "bicubic": (0.35, 16)}
# The decoder of a GPU rounds in another way.
ON_GPU = (0.6, 25)
# From what the CPU's decoder gives, which unpacks a large JPEG scaled: the tolerance of that.
SERVED = (0.6, 25)


class Watched(GpuDecoder):
    """Counts the pictures of each run of DALI that succeeds, and those that were left to the CPU."""

    def __init__(self, cpu: Decoder, dali: Dali) -> None:
        self.runs: list[int] = []
        self.left = 0
        self.warnings: list[str] = []
        super().__init__(cpu, dali, self.warnings.append)

    def decode(self, pictures: Sequence[Picture], preprocessing: Preprocessing) -> list[InputArray | ImageError]:
        self.runs, self.left = [], len(pictures)
        return super().decode(pictures, preprocessing)

    def _run(self, run, preprocessing):
        found = super()._run(run, preprocessing)
        self.runs += [len(found)] if found else []
        self.left -= len(found)
        return found


@pytest.fixture(scope="module")
def cpu() -> Iterator[Decoder]:
    decoder = Decoder(2, MOST_PIXELS, MOST_BYTES)
    yield decoder
    decoder.close()


@pytest.fixture(scope="module", params=DEVICES)
def device(request) -> int | None:
    return request.param


@pytest.fixture(scope="module")
def dali(device) -> Dali:
    return Dali(device, 2)


@pytest.fixture
def watched(cpu: Decoder, dali: Dali) -> Watched:
    return Watched(cpu, dali)


@pytest.fixture
def ask(watched: Watched) -> Callable[..., list[InputArray | ImageError]]:
    def ask(*files: bytes, preprocessing: Preprocessing | None = None) -> list[InputArray | ImageError]:
        pictures = [Picture(f"picture {number}", file) for number, file in enumerate(files, 1)]
        return watched.decode(pictures, preprocessing or recipe())

    return ask


@pytest.fixture
def assert_agrees(watched, ask, device):
    """What DALI makes of files is what the other ways make of them."""

    def check(*files: bytes, preprocessing: Preprocessing, tolerances=EXACT) -> None:
        exact = tolerances[preprocessing.interpolation] if device is None else ON_GPU
        for file, found in zip(files, ask(*files, preprocessing=preprocessing), strict=True):
            assert not isinstance(found, ImageError), found
            for expected, tolerance in (
                (input_from_image(decode(file), preprocessing), exact),
                (input_from_file(file, preprocessing), SERVED),
            ):
                assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
                apart = np.abs(found.astype(int) - expected)
                assert (apart.mean() <= tolerance[0], apart.max() <= tolerance[1]) == (True, True), (apart.mean(), apart.max())
        assert (watched.left, watched.warnings) == (0, [])

    return check


@pytest.fixture(params=["bilinear", "bicubic"])
def ours(request) -> Preprocessing:
    return recipe(interpolation=request.param)


SIZES = [
    (640, 427), (427, 640), (128, 128), (129, 131), (171, 128), (255, 256), (513, 512), (1031, 1500), (2049, 2055), (515, 1555),
    (3300, 130),
]  # fmt: skip


def test_photographs_of_many_sizes(assert_agrees, ours):
    assert_agrees(*(jpeg(photograph(*size)) for size in SIZES), preprocessing=ours)


def test_the_worst_there_is(assert_agrees, ours):
    assert_agrees(*(jpeg(noise(*size)) for size in ((300, 211), (129, 640), (511, 400))), preprocessing=ours, tolerances=NOISE)


def test_twelve_megapixels(assert_agrees, ours):
    assert_agrees(jpeg(photograph(4032, 3024)), preprocessing=ours)


# One pixel more than the scale divides, so that the crop lies elsewhere in a picture that is turned.
@pytest.mark.parametrize("orientation", STORED)
def test_every_exif_orientation(assert_agrees, ours, orientation):
    files = [jpeg(photograph(641, 427), orientation), jpeg(photograph(431, 640), orientation), jpeg(noise(301, 200), orientation)]
    assert_agrees(*files, preprocessing=ours, tolerances=NOISE)


def test_an_orientation_that_only_xmp_tells(assert_agrees):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    file = jpeg(photograph(641, 427), xmp=xmp)
    assert decode(file).size == (427, 641)
    assert_agrees(file, preprocessing=recipe())


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"quality": 30}], ids=str)
def test_what_encoders_write(assert_agrees, ours, options):
    scene = photograph(641, 427, "coffee")
    assert_agrees(jpeg(scene, **options), jpeg(scene.convert("L"), **options), jpeg(scene, **options) + bytes(99), preprocessing=ours)


def test_a_model_that_takes_normalised_floats(watched, ask, device):
    ours = recipe().model_copy(
        update={"layout": "NCHW", "normalised_in_graph": False, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    )
    files = [jpeg(photograph(640, 427)), jpeg(photograph(427, 640), 6)]
    for file, found in zip(files, ask(*files, preprocessing=ours), strict=True):
        assert not isinstance(found, ImageError)
        assert (found.dtype, found.shape, found.flags.c_contiguous) == (np.float32, (3, 112, 112), True)
        np.testing.assert_allclose(found, input_from_image(decode(file), ours), atol=(1.01 if device is None else 25) / 255 / 0.224)
    assert watched.left == 0


def test_base64_of_a_file(watched, ask):
    file = jpeg(photograph(300, 200))
    plain, text = ask(file, b"data:image/jpeg;base64," + base64.b64encode(file))
    np.testing.assert_array_equal(plain, text)
    assert watched.left == 0


def damaged(file: bytes) -> bytes:
    """Its end is there, and its header; what lies between was overwritten."""
    middle = len(file) // 2
    return file[:middle] + bytes(range(254)) + file[middle + 254 :]


def without_tables(file: bytes) -> bytes:
    """A file that no decoder can read, as its quantisation tables have become comments: only its header is good."""
    return file.replace(b"\xff\xdb", b"\xff\xfe")


SCENE = photograph(400, 300)
OTHERS = {
    "png": encoded(SCENE),
    "gif": encoded(SCENE, "GIF"),
    "webp": encoded(SCENE, "WEBP"),
    "cmyk": jpeg(SCENE.convert("CMYK")),
    "stored as RGB": jpeg(SCENE, keep_rgb=True),
    "cut off": jpeg(SCENE)[:-300],
    "cut off, with its end": jpeg(SCENE)[:-300] + b"\xff\xd9",
    "damaged": damaged(jpeg(SCENE)),
    "without its tables": without_tables(jpeg(SCENE)),
    "words": b"some words",
    "nothing": b"",
    "a strip": jpeg(Image.new("RGB", (2010, 10))),
    "too large": jpeg(Image.new("L", (5000, 4001))),
    "too long": jpeg(SCENE) + bytes(MOST_BYTES),
}
"""What DALI is not to be asked for, and what it refuses or may refuse."""


@pytest.mark.parametrize("kind", OTHERS)
def test_neighbours_of_any_picture_keep_their_answers(ask, cpu, device, kind):
    good = [jpeg(photograph(300, 200)), jpeg(photograph(200, 300), 6)]
    alone = [ask(file)[0] for file in good]
    first, other, second = ask(good[0], OTHERS[kind], good[1])
    (expected,) = cpu.decode([Picture("picture 2", OTHERS[kind])], recipe())
    for found, before in ((first, alone[0]), (second, alone[1])):
        assert not isinstance(found, ImageError)
        assert np.abs(found.astype(int) - before).max() <= (1 if device is None else ON_GPU[1])
    assert isinstance(other, ImageError) == isinstance(expected, ImageError)
    if isinstance(expected, ImageError):
        assert str(other) == str(expected)
    elif device is None or not kind.startswith(("damaged", "cut off, with")):  # whose pixels are anybody's guess
        assert np.abs(np.asarray(other, int) - expected).max() <= (1 if device is None else ON_GPU[1])


@pytest.mark.parametrize("kind", ["png", "gif", "webp", "cmyk", "stored as RGB", "cut off"])
def test_what_is_no_common_jpeg_costs_no_run(watched, ask, kind):
    ask(jpeg(SCENE), OTHERS[kind], jpeg(SCENE))
    assert (watched.runs, watched.left, watched.warnings) == ([2], 1, [])


def test_a_run_that_failed_is_decoded_on_the_cpu_and_the_next_one_is_none_the_worse(watched, ask):
    good, bad = jpeg(photograph(300, 200)), OTHERS["without its tables"]
    for _ in range(3):
        found = ask(good, bad, good)
        assert [isinstance(one, ImageError) for one in found] == [False, True, False]
        assert (watched.runs, watched.left) == ([], 3)
        np.testing.assert_array_equal(found[0], input_from_file(good, recipe()))
        ask(good, good)
        assert (watched.runs, watched.left) == ([2], 0)
    assert len(watched.warnings) == 3
    assert all(words.startswith("decoding 3 pictures on the CPU, as DALI refuses them together: ") for words in watched.warnings)
    assert not any("\n" in words for words in watched.warnings)


def test_a_pipeline_that_is_dead_after_an_error_is_made_anew(cpu, device, monkeypatch):
    """Those of older releases are: their executor is still there."""
    made = []

    def older(**options):
        made.append(Pipeline(exec_dynamic=False, exec_async=False, exec_pipelined=False, **options))
        return made[-1]

    monkeypatch.setattr("nvidia.dali.Pipeline", older)
    watched, good = Watched(cpu, Dali(device, 2)), Picture("good", jpeg(photograph(300, 200)))
    for number in (1, 2):
        watched.decode([good, Picture("bad", OTHERS["without its tables"])], recipe())
        assert (watched.runs, watched.left, len(made)) == ([], 2, number)
        watched.decode([good], recipe())
        assert (watched.runs, watched.left, len(made)) == ([1], 0, number + 1)


def test_a_crop_with_a_margin_is_the_cpus(watched, ask):
    file = jpeg(photograph(300, 200))
    (found,) = ask(file, preprocessing=recipe(100, 112))
    np.testing.assert_array_equal(found, input_from_file(file, recipe(100, 112)))
    assert (watched.runs, watched.left) == ([], 1)


def test_a_picture_that_is_to_be_enlarged_is_the_cpus(watched, ask):
    ask(jpeg(photograph(127, 300)), jpeg(photograph(128, 300)))
    assert (watched.runs, watched.left) == ([1], 1)


def test_a_picture_too_large_for_a_run_is_the_cpus(watched, ask, monkeypatch):
    monkeypatch.setattr(gpu_decoder, "MOST_PIXELS", 300 * 200)
    ask(jpeg(photograph(300, 200)), jpeg(photograph(301, 200)))
    assert (watched.runs, watched.left) == ([1], 1)


def test_many_pictures_are_decoded_in_runs(watched, ask, monkeypatch):
    files = [jpeg(photograph(140 + number, 130)) for number in range(MOST_FILES + 3)]
    together = ask(*files)
    assert (watched.runs, watched.left) == ([MOST_FILES, 3], 0)
    monkeypatch.setattr(gpu_decoder, "MOST_PIXELS", 80_000)
    apart = ask(*files)
    assert watched.left == 0
    assert max(watched.runs) * 140 * 130 <= 80_000
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_models_preprocessing_may_change_at_any_time(watched, ask):
    file = jpeg(photograph(640, 427))
    for _ in range(2):
        for side, how in ((112, "bilinear"), (64, "bicubic"), (200, "bilinear")):
            (found,) = ask(file, preprocessing=recipe(side + 16, side, how))
            assert not isinstance(found, ImageError)
            assert found.shape == (side, side, 3)
    assert watched.left == 0


def test_results_are_the_callers_own(ask):
    first = ask(jpeg(photograph(300, 200)))[0]
    assert not isinstance(first, ImageError)
    before = first.copy()
    ask(jpeg(noise(300, 200)))
    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize("asked", ["auto", "gpu"])
def test_where_dali_runs_it_is_taken(cpu, asked):
    warnings: list[str] = []
    assert isinstance(decoder(asked, cpu, None, 2, warnings.append), GpuDecoder)
    assert warnings == []


def test_a_dali_whose_pixels_are_wrong_is_not_taken(cpu, monkeypatch):
    monkeypatch.setattr(Dali, "_crops", lambda _self, parts, side, _how: np.zeros((len(parts), side, side, 3), np.uint8))
    with pytest.raises(ToolError, match=r"its pixels are off by 25[0-9] of 255, expected at most 16"):
        decoder("gpu", cpu, None, 2, print)


def test_a_gpu_that_is_not_there(cpu):
    """DALI itself says that; whoever runs this on a machine with a GPU has it."""
    warnings: list[str] = []
    assert decoder("auto", cpu, 99, 2, warnings.append) is cpu
    assert warnings[0].startswith("pictures are decoded on the CPU: DALI cannot be used here: ")
