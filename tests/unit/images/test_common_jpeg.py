"""Which JPEG files are of the kind that any decoder takes, and takes for the same colours."""

import pytest
from PIL import Image

from services.images import jpeg
from services.images.decode import opened
from tests.unit.images.pictures import encoded, photograph

SCENE = photograph(64, 48)
PLAIN = encoded(SCENE, "JPEG")
ADOBE = PLAIN.index(b"\xff\xdb")
COMMON = {
    "plain": PLAIN,
    "progressive": encoded(SCENE, "JPEG", progressive=True),
    "grey": encoded(SCENE.convert("L"), "JPEG"),
    "4:4:4": encoded(SCENE, "JPEG", subsampling=0),
    "4:2:2": encoded(SCENE, "JPEG", subsampling=1),
    "padded": PLAIN + bytes(9),
    "Adobe's, YCbCr": PLAIN[:ADOBE] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x01" + PLAIN[ADOBE:],
}
OTHER = {
    "png": encoded(SCENE),
    "cmyk": encoded(SCENE.convert("CMYK"), "JPEG"),
    "cut off": PLAIN[:-2],
    "something behind": PLAIN + b"more",
    "several pictures": encoded(SCENE, "MPO", save_all=True, append_images=[Image.new("RGB", (64, 48))]),
    "RGB by name": encoded(SCENE, "JPEG", keep_rgb=True),
    "Adobe's, RGB": PLAIN[:ADOBE] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00" + PLAIN[ADOBE:],
    "4:1:1": PLAIN.replace(b"\x03\x01\x22\x00", b"\x03\x01\x41\x00"),
}


@pytest.mark.parametrize(("data", "common"), [*((data, True) for data in COMMON.values()), *((data, False) for data in OTHER.values())])
def test_kinds(data, common):
    with opened(data, "picture") as image:
        assert jpeg.is_common(data, image) == common
