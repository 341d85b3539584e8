"""The precision an engine computes in, read from both forms of layer information that are public."""

import pytest

from services.builder.compilers.layer_info import demand_precision, precisions
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
    assert precisions({"Layers": [library_layer(datatype)]}) == {kind: 1}
    assert precisions({"Layers": [compiled_layer("gemm", datatype), compiled_layer("conv", datatype)]}) == {kind: 2}


def test_weights_tell_where_the_input_is_still_to_be_reformatted():
    layer = library_layer("Row major linear FP32", Weights={"Type": "Half", "Count": 4096})
    assert precisions({"Layers": [layer]}) == {"fp16": 1}


def test_what_computes_no_product_is_not_counted():
    layers = [
        {**library_layer("Row major linear FP32"), "LayerType": "Reformat"},
        {"Name": "relu", "LayerType": "PointWiseV2", "Inputs": [{"Format/Datatype": "Float"}], "TacticName": "generatedNativePointwise"},
        {"Name": "pool", "LayerType": "CaskPooling", "ParameterType": "Pooling", "Inputs": [{"Format/Datatype": "Float"}]},
        {"Name": "none", "LayerType": "NoOp", "Inputs": [], "Outputs": []},
        {"Name": "weights", "LayerType": "Constant", "Inputs": []},
        library_layer("Half"),
    ]
    assert precisions({"Layers": layers}) == {"fp16": 1}


@pytest.mark.parametrize("information", [{}, {"Layers": []}, {"Layers": ["conv1", "relu1"], "Bindings": ["images"]}])
def test_names_alone_prove_nothing(information):
    with pytest.raises(ToolError, match="no detailed layer information") as caught:
        precisions(information)
    assert "--profilingVerbosity=detailed" in caught.value.hint


@pytest.mark.parametrize(
    ("asked", "found"),
    [("fp16", {"fp16": 53}), ("int8", {"int8": 50, "fp32": 3}), ("fp16", {"fp16": 1, "fp32": 1}), ("int8", {})],
)
def test_an_engine_that_is_mostly_what_was_asked_passes(asked, found):
    demand_precision(asked, found)


@pytest.mark.parametrize(("asked", "found"), [("fp16", {"fp32": 53}), ("int8", {"fp16": 30, "int8": 23}), ("bf16", {"fp16": 1})])
def test_an_engine_that_is_mostly_something_else_is_refused(asked, found):
    most = max(found, key=found.get)
    with pytest.raises(ToolError, match=f"asked {asked}, engine is {most}") as caught:
        demand_precision(asked, found)
    assert all(f"{count} of {sum(found.values())} in {kind}" in str(caught.value) for kind, count in found.items())
    assert "nothing was published" in caught.value.hint
