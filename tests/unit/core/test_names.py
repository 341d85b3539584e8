"""From the MODEL setting to the name in Triton's repository."""

import pytest

from services.core.names import served_name


@pytest.mark.parametrize(
    ("model", "override", "name"),
    [
        ("resnet50", "", "resnet50"),
        ("onnx:/models/flowers.v2.onnx", "", "flowers.v2"),
        ("onnx:/models/My Net (1).onnx", "", "My_Net__1_"),
        ("py:shop.models:tiny_net", "", "tiny_net"),
        ("resnet50", "shop", "shop"),
        ("resnet50", "../../etc/passwd", "_.._etc_passwd"),
        ("resnet50", ".hidden", "hidden"),
        ("onnx:/models/--flag.onnx", "", "flag"),
        ("onnx:/models/größe.onnx", "", "gr__e"),
    ],
)
def test_name_is_a_plain_folder_name(model, override, name):
    assert served_name(model, override) == name
