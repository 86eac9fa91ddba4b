"""Fixtures of the tests that open the page in a browser."""

import pytest
from browser import PLACE, chromium, served, write_page


@pytest.fixture(scope="module")
def browser():
    """For a module, not for the session: its event loop would be in the way of others."""
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """A server's folder with the page of the preset at PLACE."""
    top = tmp_path_factory.mktemp("root")
    write_page(top / PLACE, preset="cars")
    return top


@pytest.fixture(scope="session")
def url(root):
    with served(root) as host:
        yield f"{host}/{PLACE}"
