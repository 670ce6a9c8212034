"""Check the dashboard in a real Chromium, at its readers' sizes and in their colours."""

import re
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
    assert shown.locator("h1").inner_text() == "1 of 3 tables needs attention"
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

    assert shown.locator("h1").inner_text() == "No refresh in 60 days"
    assert shown.locator("figure").count() == 0
    tile = shown.locator(".tile").inner_text()
    assert tile.split("\n\n")[0] == "Never refreshed"
    assert "no rows yet" in tile
    assert "sqp-refresh refresh --table search_query_performance" in tile
    assert "No refresh in these 60 days." in shown.locator("#table-0").inner_text()
