"""What the environment says becomes typed settings, or one error that names every value that cannot be used."""

from pathlib import Path

import pytest

from services.core.errors import SettingsError
from services.core.settings import BuilderSettings, ClientSettings, ExporterSettings, TritonSettings
from services.core.settings.check import check


def test_the_defaults_are_usable_as_they_are():
    for kind in (ExporterSettings, BuilderSettings, TritonSettings):
        assert kind.from_env({}).name == "resnet50"
    assert ClientSettings.from_env({}).name == ""  # the client asks the server


def test_every_value_that_cannot_be_used_is_named_at_once():
    environment = {"MAX_BATCH": "many", "PRECISION": "fp12", "WORKSPACE_MIB": "0", "KEEP_VERSIONS": "3"}
    with pytest.raises(SettingsError) as caught:
        BuilderSettings.from_env(environment)
    lines = str(caught.value).splitlines()
    assert sorted(line.partition(":")[0] for line in lines) == ["MAX_BATCH=many", "PRECISION=fp12", "WORKSPACE_MIB=0"]
    assert "fp32" in str(caught.value)
    assert ".env" in caught.value.hint


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_variable_counts_as_unset(empty):
    settings = ExporterSettings.from_env({"MODEL": empty, "CROP": empty, "MEAN": empty, "GOLDEN_COUNT": empty})
    assert (settings.model, settings.crop, settings.mean, settings.golden_count) == ("resnet50", None, None, 8)


def test_variables_of_other_programs_are_ignored():
    assert ClientSettings.from_env({"PATH": "/bin", "top_k": "9"}).top_k == 5


def test_the_command_line_wins_where_it_says_something():
    settings = ClientSettings.from_env({"TOP_K": "3", "PROTOCOL": "grpc"}, top_k=1, protocol=None)
    assert (settings.top_k, settings.protocol) == (1, "grpc")


def test_numbers_in_a_row():
    assert ExporterSettings.from_env({"MEAN": "0.5, 0.25,0"}).mean == (0.5, 0.25, 0.0)
    assert BuilderSettings.from_env({"PREFERRED_BATCH": "8,16"}).preferred_batch == (8, 16)


@pytest.mark.parametrize(("key", "value"), [("MEAN", "0.5,0.5"), ("MEAN", "1,2,3,4"), ("STD", "a,b,c")])
def test_a_row_of_the_wrong_length_or_kind_is_named(key, value):
    with pytest.raises(SettingsError, match=f"^{key}"):
        ExporterSettings.from_env({key: value})


@pytest.mark.parametrize("value", ["8,,16", "8,x", "0", "64"])
def test_preferred_batches_must_be_sizes_up_to_the_largest(value):
    with pytest.raises(SettingsError, match="PREFERRED_BATCH"):
        BuilderSettings.from_env({"PREFERRED_BATCH": value, "MAX_BATCH": "32"})


def test_batch_sizes_must_be_in_order():
    with pytest.raises(SettingsError, match=r"OPT_BATCH=8, MAX_BATCH=4: expected OPT_BATCH <= MAX_BATCH"):
        BuilderSettings.from_env({"MAX_BATCH": "4"})


@pytest.mark.parametrize("environment", [{"ACCELERATOR": "onnxruntime"}, {"INSTANCE_KIND": "KIND_CPU"}])
def test_a_gpu_decodes_only_for_a_model_that_is_served_on_one(environment):
    assert BuilderSettings.from_env({"DECODER": "gpu"}).published_decoder == "gpu"
    assert BuilderSettings.from_env({"DECODER": "auto"} | environment).published_decoder == "cpu"
    with pytest.raises(SettingsError, match="DECODER=gpu, and the model is served on the CPU"):
        BuilderSettings.from_env({"DECODER": "gpu"} | environment)


@pytest.mark.parametrize("value", ["abc", "0", "99999", "-1", "80 80"])
def test_a_port_that_is_none_is_named(value):
    with pytest.raises(SettingsError, match=f"^HTTP_PORT={value}"):
        TritonSettings.from_env({"HTTP_PORT": value})


def test_the_three_ports_differ():
    with pytest.raises(SettingsError, match="HTTP_PORT=8001, GRPC_PORT=8001, METRICS_PORT=8002: expected three different ports"):
        TritonSettings.from_env({"HTTP_PORT": "8001"})


def test_the_queue_of_the_server_is_unbounded_unless_asked_for():
    settings = BuilderSettings.from_env({})
    assert (settings.max_queue_size, settings.queue_timeout_ms) == (0, 0)


def test_every_stage_is_checked_at_once_and_a_mistyped_key_finds_its_like():
    with pytest.raises(SettingsError) as caught:
        check({"MAX_BATCH": "many", "GRPC_PORT": "abc", "TOP_K": "0"}, ["MODLE", "COMPOSE_FILE", "MODEL"])
    assert sorted(line.partition(":")[0] for line in str(caught.value).splitlines()) == [
        "GRPC_PORT=abc",
        "MAX_BATCH=many",
        "MODLE",
        "TOP_K=0",
    ]
    assert "did you mean MODEL?" in str(caught.value)
    check({}, ["MODEL"])


def test_a_setting_says_what_it_affects():
    builder = BuilderSettings.from_env({"INSTANCE_COUNT": "2", "OPT_BATCH": "4"})
    assert builder.affecting("serving")["instance_count"] == 2
    assert builder.affecting("engine")["opt_batch"] == 4
    assert "instance_count" not in builder.affecting("engine")
    assert "keep_versions" not in builder.affecting("engine") | builder.affecting("serving")


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({}, "KIND_GPU"),
        ({"ACCELERATOR": "onnxruntime"}, "KIND_CPU"),
        ({"ACCELERATOR": "onnxruntime", "INSTANCE_KIND": "KIND_GPU"}, "KIND_GPU"),
    ],
)
def test_instances_run_where_the_accelerator_is_unless_said_otherwise(environment, kind):
    assert BuilderSettings.from_env(environment).kind == kind


def test_artifacts_lie_in_a_folder_of_the_served_name():
    settings = ExporterSettings.from_env({"MODEL": "onnx:/models/My Net.onnx", "ARTIFACTS_DIR": "/srv/a"})
    assert settings.artifacts == Path("/srv/a/My_Net")


@pytest.mark.parametrize("environment", [{"MODEL_NAME": ".."}, {"MODEL_NAME": "-"}, {"MODEL": "..."}])
def test_a_model_that_has_no_name_left_is_refused(environment):
    """An empty name would make the folder of all models the model's own."""
    with pytest.raises(SettingsError, match="MODEL_NAME"):
        ExporterSettings.from_env(environment)


@pytest.mark.parametrize("kind", [ExporterSettings, BuilderSettings, TritonSettings, ClientSettings])
def test_help_shows_every_setting_with_its_meaning(kind):
    text = kind.help()
    for name, field in kind.model_fields.items():
        assert field.description, name
        assert any(line.split()[0] == name.upper() and field.description in line for line in text.splitlines()[1:]), name


@pytest.mark.parametrize("release", ["24.10", "25.09", "26.06"])
def test_a_release_with_published_weaknesses_is_refused_unless_it_is_accepted(release):
    with pytest.raises(SettingsError, match=f"NGC_RELEASE={release}: .*expected 26.07 or newer, or ACCEPT_OLD_RELEASE=yes"):
        check({"NGC_RELEASE": release})
    check({"NGC_RELEASE": release, "ACCEPT_OLD_RELEASE": "yes"})
    check({"NGC_RELEASE": release, "TRITON_IMAGE": "registry.example/tritonserver:patched"})


@pytest.mark.parametrize("release", ["26.07", "26.08", "27.01", ""])
def test_other_releases_are_taken(release):
    check({"NGC_RELEASE": release})
