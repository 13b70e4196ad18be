"""Opens pages of a running service in Chromium over an emulated slow link: requests, kilobytes and seconds of each.

    python -m benchmarks.slow_link [--url http://127.0.0.1:8377] [--latency-ms 400] [--kb-per-s 50] [PATH ...]

Each page is opened twice, the second time with what the browser has kept. A page is there once its heading and its main
content are.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from tests.support.tools import chromium

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

PATIENCE_MS = 120_000
_CONTENT = "main table.data, main .figure, main .presets, main .empty"


def visit(context: BrowserContext, address: str, link: dict[str, Any]) -> tuple[int, float, float]:
    """Opens one address: requests, kilobytes received, seconds."""
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", link)
    sizes: list[float] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    started = time.monotonic()
    page.goto(address, wait_until="commit", timeout=PATIENCE_MS)
    page.wait_for_selector("main h1", timeout=PATIENCE_MS)
    page.wait_for_selector(_CONTENT, timeout=PATIENCE_MS)
    page.wait_for_selector(".waiting", state="detached", timeout=PATIENCE_MS)
    seen = len(sizes), sum(sizes) / 1000, time.monotonic() - started
    # what the page loads afterwards belongs to the next visit, which finds it kept
    page.wait_for_load_state("networkidle")
    page.close()
    return seen


def main(url: str, paths: list[str], latency_ms: float, kb_per_s: float) -> None:
    from playwright.sync_api import sync_playwright

    speed = int(kb_per_s * 1000)
    link = {"offline": False, "latency": latency_ms, "downloadThroughput": speed, "uploadThroughput": speed}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for path in paths:
            context = browser.new_context()
            for visitor in ("first visit", "again"):
                requests, kilobytes, seconds = visit(context, url + path, link)
                print(f"{path:30} {visitor:12} {requests:4} requests {kilobytes:7.1f} kB {seconds:6.2f} s")
            context.close()
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", default=["/", "/runs/last", "/launch"])
    parser.add_argument("--url", default="http://127.0.0.1:8377")
    parser.add_argument("--latency-ms", type=float, default=400)
    parser.add_argument("--kb-per-s", type=float, default=50)
    given = parser.parse_args()
    main(given.url, given.paths, given.latency_ms, given.kb_per_s)
