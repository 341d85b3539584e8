from tests.docker.conftest import make_stack  # noqa: F401 - a fixture of this tier, too
