"""A headless Chromium and a web server for the tests of the page."""

import contextlib
import functools
import http.server
import shutil
import threading
import time

import pytest

SWITCHES = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
)  # fmt: skip
PATIENCE_MS = 120_000  # on a machine that does ten other things


@contextlib.contextmanager
def chromium():
    """A browser of Playwright; skips the test where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if not path:
        pytest.skip("no chromium on this machine (apt-get install chromium)")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(SWITCHES))
        yield browser
        browser.close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder):
    """Serves a folder as python -m http.server does; yields http://127.0.0.1:PORT."""
    handler = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Visit:
    """The page in a fresh browser window.

    Args:
      browser: of `chromium`.
      url: of the page's folder.
      settings: what to replace in model.json.
      options: of the window (viewport, color_scheme, ...).
    """

    def __init__(self, browser, url, settings=None, **options):
        self._context = browser.new_context(**options)
        self.page = self._context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.requests, self.errors = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        if settings is not None:
            self._replace_settings(url, settings)
        self._url = url

    def _replace_settings(self, url, settings):
        def answer(route):
            found = route.fetch().json() | settings
            route.fulfill(json=found)

        self.page.route(f"{url}/model.json", answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._context.close()

    def open(self):
        """Loads the page; returns once it is ready or has failed: its state."""
        self.page.goto(f"{self._url}/")
        self.page.wait_for_selector("body[data-state]")
        if self.page.get_attribute("body", "data-state") == "ready":
            self.wait_for_answer()  # of the first sample
        return self.page.get_attribute("body", "data-state")

    def answers(self):
        """How many pictures were answered so far."""
        return int(self.page.get_attribute("#angles", "data-answer") or 0)

    def wait_for_answer(self, more_than=0):
        # The page's policy forbids the eval that Playwright's wait_for_function needs.
        end = time.monotonic() + PATIENCE_MS / 1000
        while self.answers() <= more_than:
            assert self.page.is_hidden("#error"), self.page.inner_text("#error")
            assert time.monotonic() < end, "no answer of the page"
            self.page.wait_for_timeout(20)

    def give(self, path):
        """Chooses a file in the page's dialog."""
        self.page.set_input_files("#file", path)

    def predict(self, path):
        """Degrees [3] of a picture file."""
        before = self.answers()
        self.give(path)
        self.wait_for_answer(before)
        return self.degrees()

    def degrees(self):
        names = ("azimuth", "elevation", "tilt")
        return [float(self.page.get_attribute(f"#{name}", "data-degrees")) for name in names]

    def square(self):
        """The pixels the network got, a flat list of RGBA."""
        return self.page.evaluate(
            """() => {
              const canvas = document.getElementById("square");
              const context = canvas.getContext("2d");
              return Array.from(context.getImageData(0, 0, canvas.width, canvas.height).data);
            }"""
        )

    def error(self):
        """Waits for a message and returns it."""
        self.page.wait_for_selector("#error:not([hidden])")
        return self.page.inner_text("#error")
