"""A card comes back as it was written, and nothing but a whole card of this format is taken for one."""

import json

import pytest

from services.core.card import ModelCard, Tensor
from services.core.errors import ContractError


@pytest.fixture
def changed(make_card):
    """The text of a card with one change to its JSON."""

    def change(**fields):
        return json.dumps(json.loads(make_card().dumps()) | fields)

    return change


@pytest.mark.parametrize("pixels", [True, False])
def test_round_trip(make_card, tmp_path, pixels):
    card = make_card(pixels=pixels)
    card.dump(tmp_path / "deep" / "card.json")
    assert ModelCard.load(tmp_path / "deep" / "card.json") == card


def test_format_version_stands_first(make_card):
    assert next(iter(json.loads(make_card().dumps()))) == "format_version"


@pytest.mark.parametrize("version", ["2.0", "0.9", "10.0", 1.0, None, "one"])
def test_another_major_format_is_refused_with_the_fix(changed, version):
    with pytest.raises(ContractError) as caught:
        ModelCard.loads(changed(format_version=version, shapes="of tomorrow"), "card.json")
    assert f"card.json has format_version {version!r}, expected 1.0" in str(caught.value)
    assert "run the exporter" in caught.value.hint


def test_a_minor_version_is_read(changed):
    assert ModelCard.loads(changed(format_version="1.7"), "card.json").format_version == "1.7"


@pytest.mark.parametrize("text", ["", "{", '{"format_version": "1.0"', "\0\0\0"])
def test_damaged_json_is_named(text):
    with pytest.raises(ContractError, match="somewhere is not JSON"):
        ModelCard.loads(text, "somewhere")


@pytest.mark.parametrize("text", ["[]", "null", "3", '"1.0"'])
def test_json_that_is_no_object_is_refused(text):
    with pytest.raises(ContractError, match="format_version None"):
        ModelCard.loads(text, "card.json")


def test_an_unknown_field_is_named(changed):
    with pytest.raises(ContractError, match=r"damaged: precision: .*not permitted"):
        ModelCard.loads(changed(precision="fp16"), "card.json")


def test_every_missing_field_is_named(changed):
    text = json.dumps({key: value for key, value in json.loads(changed()).items() if key not in ("golden", "labels")})
    with pytest.raises(ContractError, match=r"labels: Field required; golden: Field required"):
        ModelCard.loads(text, "card.json")


@pytest.mark.parametrize("shape", [(), (1, 3, 8, 8), (-1, 0), (-1, 3, -1, 8)])
def test_only_the_batch_may_vary(shape):
    with pytest.raises(ValueError, match=r"expected a shape \[-1"):
        Tensor(name="x", dtype="FP32", shape=shape)


@pytest.mark.parametrize(
    ("part", "update", "found"),
    [
        ("preprocessing", {"crop": 9}, r"images: found UINT8 \[-1, 8, 8, 3\], expected UINT8 \[-1, 9, 9, 3\]"),
        ("preprocessing", {"layout": "NCHW"}, r"expected UINT8 \[-1, 3, 8, 8\]"),
        ("preprocessing", {"normalised_in_graph": False}, "images: found UINT8 .*, expected FP32"),
        ("preprocessing", {"crop": 10**9}, "preprocessing.crop: .*less than or equal to 16384"),
        ("labels", 5, r"scores: found FP32 \[-1, 4\], expected FP32 \[-1, 5\]"),
    ],
)
def test_a_card_that_contradicts_itself_is_refused(changed, make_card, part, update, found):
    value = update if isinstance(update, int) else make_card().preprocessing.model_dump(mode="json") | update
    with pytest.raises(ContractError, match=found):
        ModelCard.loads(changed(**{part: value}), "card.json")


def test_two_inputs_are_refused(changed, make_card):
    tensor = make_card().input.model_dump(mode="json")
    with pytest.raises(ContractError, match="inputs: Tuple should have at most 1 item"):
        ModelCard.loads(changed(inputs=[tensor, tensor]), "card.json")


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_cannot_be_read_names_the_exporter(tmp_path, content):
    path = tmp_path / "card.json"
    if content:
        path.write_bytes(content)
    with pytest.raises(ContractError, match=f"cannot read {path}") as caught:
        ModelCard.load(path)
    assert "run the exporter" in caught.value.hint
