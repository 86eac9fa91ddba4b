"""A headless Chromium and a web server for the tests of the page."""

import base64
import contextlib
import functools
import http.server
import shutil
import threading
import time

import numpy as np
import pytest
from in_process import run_command

from ssv_tf.export.web import __main__ as command

SWITCHES = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
)  # fmt: skip
PLACE = "deep/er/page"  # a page must work below any path
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


def write_page(out, **values):
    """What the command writes, by way of its own main."""
    words = [f"--{name}={value}" for name, value in values.items()]
    assert run_command(command, f"--out={out}", *words) == 0


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
        self.requests, self.errors, self.logged = [], [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._note)
        # From the start: asked for only when a button is pressed, a slow machine misses the dialog.
        self._dialogs = []
        self.page.on("filechooser", lambda dialog: self._dialogs.append(dialog))
        if settings is not None:
            self._replace_settings(url, settings)
        self._url = url

    def _replace_settings(self, url, settings):
        def answer(route):
            found = route.fetch().json() | settings
            route.fulfill(json=found)

        self.page.route(f"{url}/model.json", answer)

    def _note(self, message):
        if message.type in ("error", "warning"):
            self.logged.append(message.text)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._context.close()

    def open(self):
        """Loads the page; returns once it is ready or has failed: its state."""
        self.page.goto(f"{self._url}/")
        self.page.wait_for_selector("body[data-state]")
        if self.page.locator("#sample-list li").count():
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

    def replace_script(self, name, before):
        """Puts code before a script of the page; call it before `open`."""

        def answer(route):
            response = route.fetch()
            route.fulfill(response=response, body=before + response.text())

        self.page.route(f"{self._url}/{name}", answer)

    def wait_for_width(self, pixels):
        """Waits until the picture shown has so many pixels across."""
        end = time.monotonic() + PATIENCE_MS / 1000
        while self.page.get_attribute("#picture", "width") != str(pixels):
            assert time.monotonic() < end, self.page.get_attribute("#picture", "width")
            self.page.wait_for_timeout(20)

    def give(self, path):
        """Chooses a file in the page's dialog."""
        self.page.set_input_files("#file", path)

    def chosen_in_dialog(self, path):
        """Waits for the page's file dialog and chooses a file there."""
        end = time.monotonic() + PATIENCE_MS / 1000
        while not self._dialogs:
            assert time.monotonic() < end, "no dialog"
            self.page.wait_for_timeout(20)
        self._dialogs.pop().set_files(path)

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
        """The pixels the network got, uint8 [R, R, 3]."""
        rgba = self.page.evaluate(
            """() => {
              const canvas = document.getElementById("square");
              const context = canvas.getContext("2d");
              return Array.from(context.getImageData(0, 0, canvas.width, canvas.height).data);
            }"""
        )
        side = int(self.page.get_attribute("#square", "width"))
        return np.array(rgba, np.uint8).reshape(side, side, 4)[..., :3]

    def tips(self):
        """Ends of the drawn axes nose, left, up: [3, 2] in the drawing's units."""
        knobs = {
            name: self.page.locator(f"#axes .axis.{name} circle") for name in ("nose", "left", "up")
        }
        return np.array(
            [[float(k.get_attribute("cx")), float(k.get_attribute("cy"))] for k in knobs.values()]
        )

    def text(self, selector):
        return self.page.text_content(selector).strip()

    def press_sample(self, number):
        before = self.answers()
        self.page.click(f"#sample-list li:nth-child({number}) button")
        self.wait_for_answer(before)

    def focused(self):
        """The name a screen reader gives what has the focus."""
        return self.page.evaluate(
            """() => {
              const at = document.activeElement;
              return (at.querySelector("img")?.alt ?? at.innerText ?? "").trim();
            }"""
        )

    def drop(self, path):
        """Drops a file from outside onto the page."""
        content = base64.b64encode(path.read_bytes()).decode()
        self.page.evaluate(
            """([content, name]) => {
              const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
              const transfer = new DataTransfer();
              transfer.items.add(new File([bytes], name));
              const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
              for (const kind of ["dragenter", "dragover", "drop"]) {
                document.getElementById("screen").dispatchEvent(new DragEvent(kind, options));
              }
            }""",
            [content, path.name],
        )

    def error(self):
        """Waits for a message and returns it."""
        self.page.wait_for_selector("#error:not([hidden])")
        return self.page.inner_text("#error")
