from tests.local.conftest import settings, tiny_export  # noqa: F401 - fixtures of this tier, too
