from collections.abc import Iterator

import pytest

from tests.data_prep.web_site import Site, running_site


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A local HTTP server, asked directly whatever proxy is set."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running_site() as running:
        yield running
