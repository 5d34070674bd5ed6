"""The page of runs works in a real browser: headless Chromium, where it is installed."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nowcast.report.runs.page import write_page
from tests.report.run_folders import HOSTILE, write_runs
from tests.report.test_html_in_a_browser import Browser, choose, find, names, wait
from tests.report.test_html_in_a_browser import chromium as chromium  # the fixture

SHOWN = "[...document.querySelectorAll('#{0} .scatterlayer .trace')].length"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page([write_runs(tmp_path_factory.mktemp("runs"))])


@pytest.fixture
def opened(chromium: Browser, page: Path) -> Iterator[Browser]:
    """The page as if opened for the first time; the console must have no complaint at the end."""
    chromium.get_log("browser")
    chromium.get(page.as_uri())
    reopen(chromium)
    yield chromium
    assert chromium.get_log("browser") == []


def reopen(browser: Browser, keep: bool = False) -> None:
    if not keep:
        browser.execute_script("addEventListener('pagehide', () => sessionStorage.clear())")
    browser.refresh()
    wait(lambda: browser.execute_script("return document.documentElement.dataset.ready") == "yes")


def lines(browser: Browser, figure: str) -> list[list[float]]:
    """Values of the lines of a figure."""
    return browser.execute_script(f"return document.getElementById('{figure}').data.map(line => [...line.y])")


def tick(browser: Browser, name: str) -> None:
    script = """[...document.querySelectorAll('#chips label')].find(one => one.textContent === arguments[0]).click()"""
    browser.execute_script(script, name)


def test_it_opens_without_network_and_runs_no_name(opened: Browser) -> None:
    loaded = opened.execute_script("return performance.getEntriesByType('resource').map(one => one.name)")
    assert all(name.startswith("data:") for name in loaded)
    assert HOSTILE in names(opened)
    assert find(opened, "#chips").text.count(HOSTILE) == 1
    assert len(opened.find_elements("css selector", ".plot svg.main-svg")) >= 4
    assert opened.execute_script(f"return {SHOWN.format('curve')}") == 4


def test_a_head_sorts_runs_with_broken_ones_at_the_end(opened: Browser) -> None:
    def column(head: str) -> list[str]:
        script = """const heads = [...document.querySelectorAll('#board thead th')];
                    const at = heads.findIndex(head => head.textContent.startsWith(arguments[0]));
                    heads[at].querySelector('button').click();
                    return [...document.querySelectorAll('#board tbody tr')].map(row => row.cells[at].dataset.value)"""
        return opened.execute_script(script, head)

    losses = [float(value) for value in column("val_loss")[:3]]
    assert losses == sorted(losses)
    assert set(names(opened)[3:]) == {"broken", "half"}
    assert [float(value) for value in column("val_loss")[:3]] == sorted(losses, reverse=True)
    skill = [float(value) for value in column("test CSI")[:3]]
    assert skill == sorted(skill, reverse=True)


def test_words_and_state_filter_runs(opened: Browser) -> None:
    find(opened, "#filter").send_keys("SQUEEZE")
    assert names(opened) == ["squeeze"]
    opened.execute_script("document.getElementById('filter').value = ''")
    choose(opened, "kind", "broken")
    assert sorted(names(opened)) == ["broken", "half"]


def test_choosing_runs_and_curves_changes_figures_and_pictures(opened: Browser) -> None:
    opened.execute_script("document.querySelector('[data-choose=none]').click()")
    assert lines(opened, "curve") == []
    assert find(opened, "#no-pictures").is_displayed()
    tick(opened, "plain")
    (slow,) = lines(opened, "curve")
    tick(opened, "squeeze")
    assert lines(opened, "curve")[0] == slow or lines(opened, "curve")[1] == slow
    assert len(lines(opened, "curve")) == len(lines(opened, "leads")) == 2
    assert len(opened.find_elements("css selector", "#pictures img")) == 2
    assert opened.execute_script("return document.querySelector('#pictures img').naturalWidth") == 40
    choose(opened, "metric", "val_loss")
    assert sorted(lines(opened, "curve")) == [[0.4, 0.39], [0.5, 0.49]]
    assert find(opened, "#shown").text == "2 of 5"


def test_a_page_that_reads_itself_anew_keeps_what_was_chosen(opened: Browser) -> None:
    opened.execute_script("document.querySelector('[data-choose=none]').click()")
    tick(opened, "squeeze")
    choose(opened, "metric", "windows_per_second")
    reopen(opened, keep=True)
    assert lines(opened, "curve") == [[100, 101]]


def test_a_name_opens_its_config(opened: Browser) -> None:
    opened.find_element("link text", HOSTILE).click()
    wait(lambda: find(opened, "details.entry[open]"))
    assert HOSTILE in find(opened, "details.entry[open] summary").text
    assert "<b>eca</b>" in find(opened, "details.entry[open]").text


def test_nothing_is_wider_than_a_phone(opened: Browser) -> None:
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        reopen(opened)
        time.sleep(0.1)
        assert opened.execute_script("return document.documentElement.scrollWidth") == 390
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
