"""What the words of a variant do to a published model."""

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from benchmarks.published import Published
from benchmarks.variants import Variant, default_variants
from services.core.errors import SettingsError
from services.numerics.agreement import Limits
from services.numerics.golden import Golden

CONFIG = """name: "m" version_policy { specific { versions: 1 } } instance_group { count: 2 }
dynamic_batching { max_queue_delay_microseconds: 7 }"""
MODEL = "import onnxruntime\n"


@pytest.fixture
def written(tmp_path, make_card):
    """Config and model.py of a variant."""
    folder = tmp_path / "published" / "m"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text(MODEL)
    golden = Golden(np.zeros((1, 2), np.float32), np.zeros((1, 2), np.float32))
    published = Published(folder, text_format.Parse(CONFIG, pb.ModelConfig()), make_card(), golden, Limits(1, 0, 0))

    def write(words: str) -> tuple[pb.ModelConfig, str]:
        Variant.parse(words).write(published, tmp_path / "repository")
        model = tmp_path / "repository" / "m"
        return text_format.Parse((model / "config.pbtxt").read_text(), pb.ModelConfig()), (model / "1" / "model.py").read_text()

    return write


def test_published_is_unchanged(written):
    config, model = written("published")
    assert (config.instance_group[0].count, config.dynamic_batching.max_queue_delay_microseconds, model) == (2, 7, MODEL)


def test_what_no_word_is_of_stays(written):
    config, model = written("on")
    assert (config.instance_group[0].count, config.dynamic_batching.max_queue_delay_microseconds, model) == (2, 0, MODEL)
    assert written("off instances=4")[0].instance_group[0].count == 4


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("threads=3", ["if 3:", "in {}.items()"]),
        ("nospin", ["if 0:", "{'session.intra_op.allow_spinning': '0'}"]),
        ("spin=50", ["{'session.intra_op.allow_spinning': '1', 'session.intra_op.spin_duration_us': '50'}"]),
        ("session.force_spinning_stop=1", ["{'session.force_spinning_stop': '1'}"]),
        ("norun", ["golden.npz"]),
    ],
)
def test_the_session_is_changed_before_the_model_asks_for_it(written, words, told):
    model = written(words)[1]
    compile(model, words, "exec")
    assert all(text in model for text in told)
    assert model.endswith(MODEL)


@pytest.mark.parametrize("words", ["fast", "threads=many", "spin=", "session.x="])
def test_an_unknown_word_is_refused(words):
    with pytest.raises(SettingsError, match="unknown word"):
        Variant.parse(words)


@pytest.mark.parametrize("cores", [1, 2, 16])
def test_the_default_variants_differ(cores):
    words = [variant.words for variant in default_variants(cores)]
    assert len(set(words)) == len(words)
