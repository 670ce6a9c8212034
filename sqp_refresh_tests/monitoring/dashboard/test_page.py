"""Check the dashboard in a real Chromium, at its readers' sizes and in their colours."""

import re
import shlex
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from sqp_refresh.monitoring.dashboard.drawing import draw
from sqp_refresh_tests.monitoring.dashboard.history import AT, HOSTILE

DESKTOP, PHONE = 1360, 390
Opened = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opened]:
    """Return a function that opens a page, which must write to no console and request nothing."""
    messages: list[str] = []
    requests: list[str] = []
    contexts = []

    def open_(path: Path, width: int = DESKTOP, at=AT, **options) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 844}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.clock.set_fixed_time(at)
        page.goto(path.as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert messages == []
    assert [url for url in requests if not url.startswith(("file://", "data:"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_the_page_fits_its_reader(page, opened, width, scheme):
    shown = opened(page, width, color_scheme=scheme)

    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    assert shown.locator("h1").inner_text() == (
        f"1 of 3 tables needs attention: begin with sqp-refresh history {shlex.quote(HOSTILE)}"
    )
    tiles = shown.locator(".tile")
    assert tiles.locator("h3").all_inner_texts()[0] == HOSTILE
    assert [text.split("\n")[0] for text in tiles.all_inner_texts()] == [
        "Failed",
        "Up to date",
        "Up to date",
    ]
    drawings = shown.locator("figure svg")
    assert drawings.count() == 4 + 3
    for box in (drawings.nth(place).bounding_box() for place in range(drawings.count())):
        assert box and 250 < box["width"] < width
        assert box["height"] > 80


def test_light_and_dark_differ_in_every_colour_that_carries_a_meaning(page, opened):
    def colours(scheme: str) -> list[str]:
        shown = opened(page, color_scheme=scheme)
        return shown.evaluate(
            """() => ["body", ".card", "h1", ".tile.good .status", "figure rect, figure path[fill]"]
                .map((selector) => getComputedStyle(document.querySelector(selector)))
                .flatMap((style) => [style.color, style.backgroundColor])"""
        )

    light, dark = colours("light"), colours("dark")

    assert light[0] != dark[0]
    assert light[1] != dark[1]
    assert light[4] != dark[4]
    assert light[6] != dark[6]


def test_a_night_is_described_where_the_pointer_is_on_it(page, opened):
    shown = opened(page)
    night = shown.locator("#table-1 figure path[aria-label]").last
    night.scroll_into_view_if_needed()

    night.hover()

    tip = shown.locator("#tip")
    assert tip.is_visible()
    assert re.match(r"\w{3} \d+ \w{3} \d{4}: success in ", tip.inner_text())
    assert "3 of 3 checks passed" in tip.inner_text()


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_each_cell_of_the_grid_shows_its_number_and_is_described(page, opened, width):
    shown = opened(page, width)
    cells = shown.locator("#weeks td:has(span)").locator("visible=true")

    assert cells.count() > 10
    assert cells.evaluate_all("all => all.every((cell) => cell.scrollWidth <= cell.clientWidth)")
    cells.first.hover()
    assert shown.locator("#tip").inner_text().split("\n")[1] == "4,050 rows"


def test_the_charts_and_the_tiles_need_no_script(page, opened):
    shown = opened(page, PHONE, java_script_enabled=False)

    assert shown.locator("figure svg").count() == 7
    assert "ago" in shown.locator(".tile").last.inner_text()


def test_nothing_from_the_database_becomes_markup(page, opened):
    shown = opened(page)

    assert shown.evaluate("typeof hacked") == "undefined"
    assert shown.locator("script").count() == 1
    assert shown.locator("img").count() == 0
    assert shown.locator("#table-0 h3").inner_text() == HOSTILE
    assert rf"{HOSTILE}\x1b[31m" in shown.locator(".tile .message").first.inner_text()
    assert "\x1b" not in page.read_text()


def test_the_page_forbids_whatever_it_does_not_bring_itself(page, opened):
    shown = opened(page)

    policy = shown.locator("meta[http-equiv=Content-Security-Policy]").get_attribute("content")

    assert policy and policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    linked = shown.locator("[src], [href]").evaluate_all(
        "nodes => nodes.map(node => node.getAttribute('src') ?? node.getAttribute('href'))"
    )
    assert {link[0] if link.startswith("#") else link for link in linked} == {"data:,", "#"}


@pytest.mark.parametrize(("hours", "is_old"), [(1, False), (29, False), (31, True), (80, True)])
def test_a_page_that_was_not_drawn_again_says_that_it_is_old(page, opened, hours, is_old):
    shown = opened(page, at=AT + timedelta(hours=hours))

    notice = shown.locator("#stale")
    assert notice.is_visible() == is_old
    if hours == 80:
        assert notice.inner_text().startswith("This page is 3 days old.")


def test_before_the_first_refresh_the_page_says_so(filled, migrated_database, opened, tmp_path):
    filled.register("search_query_performance")
    path = tmp_path / "dashboard.html"

    draw(migrated_database, path, AT)
    shown = opened(path, PHONE)

    assert shown.locator("h1").inner_text() == (
        "No refresh in 60 days: begin with sqp-refresh refresh"
    )
    assert shown.locator("figure").count() == 0
    tile = shown.locator(".tile").inner_text()
    assert tile.split("\n\n")[0] == "Never refreshed"
    assert "no rows yet" in tile
    assert "sqp-refresh refresh --table search_query_performance" in tile
    assert "No refresh in these 60 days." in shown.locator("#table-0").inner_text()


@pytest.mark.parametrize("width", [1440, PHONE])
def test_every_column_of_the_figures_can_be_seen(page, opened, width):
    shown = opened(page, width)
    shown.locator("summary").evaluate_all("all => all.forEach(each => each.click())")

    # On a phone a table may be wider than its card, and is scrolled within it.
    cut = shown.locator("table").evaluate_all(
        """tables => tables.filter(table => {
            const scroll = table.closest(".scroll") ?? table.parentElement;
            scroll.scrollLeft = 1e6;
            const last = table.querySelector("tr").lastElementChild.getBoundingClientRect();
            return last.right > scroll.getBoundingClientRect().right + 1
                || scroll.getBoundingClientRect().right > innerWidth
                || (innerWidth > 1000 && scroll.scrollWidth > scroll.clientWidth);
        }).length"""
    )

    assert shown.locator("table").count() >= 6
    assert cut == 0
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    summaries = shown.locator("summary").all_inner_texts()
    assert [text for text in summaries if text.startswith("Its checks of the last 9 weeks, ")]


def test_a_page_with_one_night_has_words_and_no_charts(
    filled, migrated_database, opened, tmp_path, monkeypatch
):
    monkeypatch.setenv("BIGQUERY_DATASET", "agency_85")
    monkeypatch.setenv("DAGSTER_WEBSERVER_URL", "https://dagster.example")
    monkeypatch.setenv("REFRESH_RUNBOOK_URL", "https://wiki.example/runbook")
    filled.register("search_query_performance")
    filled.run("search_query_performance", AT, counts=(4_050, 4_050, 0, 0))
    path = tmp_path / "dashboard.html"

    draw(migrated_database, path, AT, next_tick=lambda after: after + timedelta(hours=3))
    shown = opened(path)

    assert shown.locator("h1").inner_text() == "The table is up to date; nothing is to be done"
    assert shown.locator("figure").count() == 0
    assert "4,050 rows inserted, 0 updated, 0 deleted" in shown.locator("#table-0").inner_text()
    assert "dataset agency_85" in shown.locator("header").inner_text()
    links = shown.locator("a[href^=http]").evaluate_all("all => all.map(each => each.href)")
    assert links == [
        "https://wiki.example/runbook",
        f"https://dagster.example/runs/night%20of%20{AT:%F}",
    ]
    assert "Next night\nin 27 h" in shown.locator(".tile").inner_text()
