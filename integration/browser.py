"""A real browser for pages that the program writes: Debian's chromium, driven by its own driver."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver import Chrome

_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")


class Browser:
    """A browser window.

    Args:
        driver: What drives it; also an attribute.
    """

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, page: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Opens a file, in a window of this size; what the page before it said and asked for is forgotten."""
        _ = self.complaints, self.requests
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get(page.as_uri())

    def resize(self, width: int, height: int = 900) -> None:
        """Makes the window as large as this; chromium's own has a least width."""
        shape = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", shape)

    def js(self, script: str, *values: object) -> Any:
        """What a script in the page returns."""
        return self.driver.execute_script(f"return {script}", *values)

    def texts(self, selector: str) -> list[str]:
        """The visible text of every element that the selector finds, on one line each."""
        return self.js(
            "[...document.querySelectorAll(arguments[0])].map(e => e.innerText.replace(/\\s+/g, ' '))", selector
        )

    @property
    def complaints(self) -> list[str]:
        """What the console said since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    @property
    def requests(self) -> list[str]:
        """Addresses that were asked for since it was last asked."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]


@contextmanager
def open_browser(home: Path) -> Iterator[Browser]:
    """A browser with a home of its own; the test is skipped where none is installed."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no chromium here: `python -m integration.cluster needs --install` installs it on Debian")
    options = Options()
    options.binary_location = program
    for flag in (*_FLAGS, f"--user-data-dir={home / 'browser'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield Browser(chrome)
    finally:
        chrome.quit()
