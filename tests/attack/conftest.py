from tests.local.conftest import settings, tiny_export, tiny_served  # noqa: F401 - fixtures of this tier, too
