"""The page works in a real browser: headless Chromium, where it is installed."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.report.benchmark_folder import BASELINE, FAILED, NETWORK

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

FLAGS = (
    "--headless=new", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--window-size=1400,1000",
)  # fmt: skip
Browser = webdriver.Chrome


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    binary = next((path for name in ("chromium", "google-chrome", "chrome") if (path := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no Chromium with chromedriver is installed")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture
def opened(chromium: Browser, page: Path) -> Iterator[Browser]:
    """The page; whatever a test does with it, the console must have no complaint."""
    chromium.get_log("browser")
    chromium.get(page.as_uri())
    wait(lambda: chromium.execute_script("return document.documentElement.dataset.ready") == "yes")
    yield chromium
    assert chromium.get_log("browser") == []


def wait(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the page did not do it in time"
        time.sleep(0.02)


def names(browser: Browser) -> list[str]:
    """Entries of the visible rows of the leaderboard."""
    rows = "[...document.querySelectorAll('#board tbody tr')].filter(row => !row.hidden)"
    return browser.execute_script(f"return {rows}.map(row => row.cells[0].dataset.value)")


def values(browser: Browser, key: str) -> list[str]:
    """A column of the leaderboard."""
    script = """const heads = [...document.querySelectorAll('#board thead th')];
                const column = heads.findIndex(head => head.dataset.key === arguments[0]);
                return [...document.querySelectorAll('#board tbody tr')].map(row => row.cells[column].dataset.value)"""
    return browser.execute_script(script, key)


def choose(browser: Browser, name: str, value: object) -> None:
    """What choosing from a list or moving a slider does."""
    script = """const one = document.getElementById(arguments[0]); one.value = arguments[1];
                for (const type of ['input', 'change']) one.dispatchEvent(new Event(type, {bubbles: true}))"""
    browser.execute_script(script, name, str(value))


def find(browser: Browser, selector: str) -> webdriver.remote.webelement.WebElement:
    return browser.find_element("css selector", selector)


def test_the_page_opens_without_network_or_foreign_scripts(opened: Browser) -> None:
    loaded = opened.execute_script("return performance.getEntriesByType('resource').map(one => one.name)")
    assert all(name.startswith("data:") for name in loaded)
    assert opened.title.endswith("nowcast benchmark")
    figures = opened.find_elements("css selector", ".plot svg.main-svg")
    assert len(figures) >= 8
    legend = [one.text for one in opened.find_elements("css selector", "#curve .legendtext")]
    assert len(legend) == 2
    assert all("<" in name for name in legend)  # names are text there too


def test_a_head_sorts_the_leaderboard_by_click_and_by_key(opened: Browser) -> None:
    head = find(opened, "#board th[data-key='csi_1_15']")
    head.find_element("css selector", "button").click()
    rising = values(opened, "csi_1_15")
    numbers = [float(value) for value in rising[:-1]]
    assert numbers == sorted(numbers, reverse=True)
    assert rising[-1] == ""
    assert head.get_attribute("aria-sort") == "descending"
    head.find_element("css selector", "button").send_keys("\ue007")  # Enter
    assert [float(value) for value in values(opened, "csi_1_15")[:-1]] == sorted(numbers)
    assert head.get_attribute("aria-sort") == "ascending"
    find(opened, "#board th[data-better='text'] button").click()
    assert names(opened) == [*sorted(names(opened)[:3]), FAILED]
    assert head.get_attribute("aria-sort") is None


def test_the_filter_hides_rows(opened: Browser) -> None:
    find(opened, "#filter").send_keys('PERSISTENCE "twin"')
    assert names(opened) == [BASELINE]
    assert find(opened, "#count").text == "1 of 4 rows"
    opened.execute_script("document.getElementById('filter').value = ''")
    choose(opened, "kind", "network")
    assert names(opened) == [NETWORK, NETWORK, FAILED]


def test_the_slider_changes_all_frames(opened: Browser) -> None:
    (case,) = json.loads(find(opened, "#cases-data").get_attribute("textContent"))

    def sources() -> list[str]:
        return [one.get_attribute("src").split(",")[1] for one in opened.find_elements("css selector", "#panels img")]

    forecasts = {one["name"]: one["frames"] for one in case["forecasts"]}
    assert sources() == [case["observed"][0], forecasts[NETWORK][0], forecasts[BASELINE][0]]
    find(opened, "#frame").send_keys("\ue014")  # the arrow to the right
    assert sources() == [case["observed"][1], forecasts[NETWORK][1], forecasts[BASELINE][1]]
    assert find(opened, "#clock").text == "+10 min · 00:05 UTC"
    choose(opened, "frame", 0)
    assert sources() == [case["past"][0]] * 3
    opened.execute_script("document.querySelector('#case-chips input').click()")
    assert len(sources()) == 2
    assert opened.execute_script("return document.querySelector('#panels img').naturalWidth") == case["width"]


def test_frames_move_until_paused(opened: Browser) -> None:
    def frame() -> str:
        return opened.execute_script("return document.getElementById('frame').value")

    before, button = frame(), find(opened, "#play")
    button.click()
    wait(lambda: frame() not in {before, str(int(before) + 1)})
    assert button.text == "pause"
    button.click()
    rest = frame()
    time.sleep(0.7)
    assert frame() == rest
    assert button.text == "play"


def test_every_choice_draws_the_figures_again(opened: Browser) -> None:
    def title(name: str) -> str:
        return find(opened, f"#{name}-title").text

    scores = opened.execute_script("return [...document.getElementById('score').options].map(one => one.value)")
    assert len(scores) > 20
    for score in scores[::5]:
        choose(opened, "score", score)
    choose(opened, "score", "mae")
    assert title("curve") == "MAE"
    choose(opened, "score", "csi")
    choose(opened, "threshold", 5)
    choose(opened, "lead", 10)
    assert title("ranking") == "CSI after 10 minutes, rain of at least 5 mm/h"
    assert title("performance") == "Performance after 10 minutes, rain of at least 5 mm/h"
    choose(opened, "set", 1)
    assert title("performance") == "Performance after 60 minutes, rain of at least 5 mm"
    choose(opened, "set", 0)
    choose(opened, "cost", "latency_s")
    find(opened, "#relative").click()
    assert title("curve").startswith(f"CSI minus {BASELINE}")
    for choice, left in (("none", 0), ("all", 2)):
        opened.execute_script(f"document.querySelector('[data-choose={choice}]').click()")
        assert find(opened, "#shown").get_attribute("textContent") == f"{left} of 2"


def test_a_name_opens_its_config(opened: Browser) -> None:
    opened.find_element("link text", BASELINE).click()
    wait(lambda: find(opened, "#entry-1").get_attribute("open"))
    assert BASELINE in find(opened, "#entry-1 summary").text
    assert find(opened, "#entry-1 pre").is_displayed()


def test_light_and_dark_follow_the_system_and_the_switch(opened: Browser) -> None:
    def paper() -> str:
        return opened.execute_script("return getComputedStyle(document.body).backgroundColor")

    def system(scheme: str) -> None:
        feature = {"name": "prefers-color-scheme", "value": scheme}
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    system("light")
    light = paper()
    system("dark")
    dark = paper()
    assert light != dark
    find(opened, "#theme").click()
    assert paper() == light
    find(opened, "#theme").click()
    assert paper() == dark
    opened.execute_script("localStorage.clear()")


def test_nothing_is_wider_than_a_phone(opened: Browser) -> None:
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        opened.refresh()
        wait(lambda: opened.execute_script("return document.documentElement.dataset.ready") == "yes")
        assert opened.execute_script("return document.documentElement.scrollWidth") == 390
        figures = opened.find_elements("css selector", ".plot svg")
        assert 0 < max(figure.size["width"] for figure in figures) < 390
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
