"""The precision an engine computes in, read from both forms of layer information that are public."""

import json
from pathlib import Path

import pytest

from services.builder.compilers.layer_info import doubt, precisions
from services.core.errors import ToolError


def library_layer(datatype: str, **fields) -> dict:
    """A layer as library kernels are listed (TensorRT 8 to 11, NVIDIA/TensorRT issue 3876)."""
    return {
        "Name": "/layer1/conv1/Conv + /layer1/relu/Relu",
        "LayerType": "CaskConvolution",
        "Inputs": [{"Name": "x", "Location": "Device", "Dimensions": [1, 64, 56, 56], "Format/Datatype": datatype}],
        "Outputs": [{"Name": "y", "Location": "Device", "Dimensions": [1, 64, 56, 56], "Format/Datatype": datatype}],
        "ParameterType": "Convolution",
        "TacticName": "sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc_tilesize128x128x32",
        **fields,
    }


def compiled_layer(kind: str, datatype: str) -> dict:
    """A layer as Myelin's are listed (issue 4020): lower case types, and no weights."""
    return {
        "Name": f"__myl_{kind}_myl0_3",
        "LayerType": kind,
        "Inputs": [{"Name": "x", "Dimensions": [1, 197, 768], "Format/Datatype": datatype}],
        "Outputs": [{"Name": "y", "Dimensions": [1, 197, 768], "Format/Datatype": datatype}],
        "TacticName": f"__myl_{kind}_0x",
    }


@pytest.mark.parametrize(
    ("datatype", "kind"),
    [
        ("Row major linear FP32", "fp32"),
        ("Channel major FP16 format where channel % 8 == 0", "fp16"),
        ("Thirty-two wide channel vectorized row major Int8 format", "int8"),
        ("Channel major BF16 format where channel % 8 == 0", "bf16"),
        ("Channel major FP8 format where channel % 16 == 0", "fp8"),
        ("Float", "fp32"),
        ("Half", "fp16"),
        ("Int8", "int8"),
        ("BFloat16", "bf16"),
        ("FP8", "fp8"),
    ],
)
def test_every_datatype_in_both_forms(datatype, kind):
    assert precisions(json.dumps({"Layers": [library_layer(datatype)]})) == {kind: 1}
    assert precisions(json.dumps({"Layers": [compiled_layer("gemm", datatype), compiled_layer("conv", datatype)]})) == {kind: 2}


def test_weights_tell_where_the_input_is_still_to_be_reformatted():
    layer = library_layer("Row major linear FP32", Weights={"Type": "Half", "Count": 4096})
    assert precisions(json.dumps({"Layers": [layer]})) == {"fp16": 1}


def test_what_computes_no_product_is_not_counted():
    layers = [
        {**library_layer("Row major linear FP32"), "LayerType": "Reformat"},
        {"Name": "relu", "LayerType": "PointWiseV2", "Inputs": [{"Format/Datatype": "Float"}], "TacticName": "generatedNativePointwise"},
        {"Name": "pool", "LayerType": "CaskPooling", "ParameterType": "Pooling", "Inputs": [{"Format/Datatype": "Float"}]},
        {"Name": "none", "LayerType": "NoOp", "Inputs": [], "Outputs": []},
        {"Name": "weights", "LayerType": "Constant", "Inputs": []},
        library_layer("Half"),
    ]
    assert precisions(json.dumps({"Layers": layers})) == {"fp16": 1}


LISTINGS = {
    "int8_fused_with_a_half_residual": {"int8": 1},
    "int8_told_by_the_tactic_alone": {"int8": 1},
    "fp8_told_by_the_tactic_alone": {"fp8": 1},
    "int8_constants_in_a_fused_kernel": {"int8": 1},
    "int8_with_raw_control_characters": {"int8": 1},
    "datatype_as_one_word": {"fp16": 2},
    "one_foreign_node_with_pixels": {},
    "one_foreign_node_with_fp32": {},
    "foreign_node_beside_a_reformat": {},
    "names_alone": {},
    "int8_that_became_half": {"fp16": 3},
    "int8_that_became_fp32": {"fp32": 3},
}


def listing(name: str) -> dict[str, int]:
    return precisions((Path(__file__).with_name("listings") / f"{name}.json").read_text())


@pytest.mark.parametrize("name", LISTINGS)
def test_an_unusual_listing_is_read_for_what_it_tells(name):
    assert listing(name) == LISTINGS[name]


@pytest.mark.parametrize("text", ["", "[1, 2]", "{}", '{"Layers": null}', "&&&& PASSED"])
def test_what_is_no_listing_tells_nothing(text):
    assert precisions(text) == {}


def test_every_constructed_listing_is_tested():
    assert {path.stem for path in Path(__file__).with_name("listings").iterdir()} == set(LISTINGS)


@pytest.mark.parametrize("name", [name for name in LISTINGS if "became" not in name and not name.startswith("fp8")])
@pytest.mark.parametrize("asked", ["int8", "fp16", "bf16", "fp32"])
def test_no_good_engine_is_refused_for_its_listing(name, asked):
    if asked == "int8" and name == "datatype_as_one_word":
        return  # that is no int8 engine
    found = listing(name)
    said = doubt(asked, found, 1.0, quantised=asked == "int8")
    assert ("tells no types" in said) == (not found)


@pytest.mark.parametrize("name", ["int8_that_became_half", "int8_that_became_fp32", "datatype_as_one_word"])
@pytest.mark.parametrize("asked", ["int8", "fp8"])
def test_a_quantised_engine_that_lost_its_8_bits_is_refused(name, asked):
    found = listing(name)
    most = max(found, key=found.__getitem__)
    with pytest.raises(ToolError, match=f"asked {asked}, engine is {most} .*{found[most]} of {found[most]} in {most}") as caught:
        doubt(asked, found, 1.0, quantised=True)
    assert "nothing was published" in caught.value.hint


@pytest.mark.parametrize("asked", ["fp32", "fp16", "bf16"])
def test_what_strong_typing_fixes_is_doubted_but_not_refused(asked):
    assert "that the types of the graph overrule" in doubt(asked, {"int8": 30, "fp16": 1}, 1.0, quantised=False)


@pytest.mark.parametrize(
    ("found", "share", "refused"),
    [
        ({"int8": 50, "fp32": 3}, 1.0, False),
        ({"int8": 23, "fp16": 30}, 1.0, True),
        ({"int8": 23, "fp16": 30}, 0.5, False),
        ({"int8": 10, "fp16": 30}, 0.6, True),
        ({"fp16": 1}, 0.1, True),
    ],
)
def test_half_of_what_was_quantised_must_be_found(found, share, refused):
    if refused:
        with pytest.raises(ToolError):
            doubt("int8", found, share, quantised=True)
    else:
        assert doubt("int8", found, share, quantised=True) == ""
