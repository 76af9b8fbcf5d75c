"""The report in a real browser: it loads nothing, shows what JSON says, and can be read narrow, wide and dark."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import poolcli
from poolcli.measure import cases, environment, report, results

pytest.importorskip("jinja2", reason="needs jinja2: the extra report")
pytest.importorskip("matplotlib", reason="needs matplotlib: the extra report")

NAME = '<b>&"x.png'
VOID = {"meta", "img", "br", "path", "use"}
# Of all texts: their colour against that of the nearest background, by WCAG's formula
CONTRAST = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((c) => c / 255)
    .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = channels(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  let least = 99;
  for (const node of document.querySelectorAll('main :not(style)')) {
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim())) continue;
    const style = getComputedStyle(node);
    const ink = channels(node.ownerSVGElement ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(node))].sort((x, y) => y - x);
    least = Math.min(least, (a + 0.05) / (b + 0.05));
  }
  return least;
}"""


@pytest.fixture(scope="module")
def compared():
    rows, columns = np.indices((90, 120))
    colours = np.dstack([rows * 2, columns * 2, (rows * columns) % 256]).astype(np.uint8)
    return poolcli.compare(
        colours, ["max", "avg"], ["k2", "k3"], layout="HWC", name=NAME, command="poolcli compare '<i>'"
    )


@pytest.fixture(scope="module")
def page(compared, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(compared.to_html(), encoding="utf-8")
    return path


class Balance(HTMLParser):
    """The tags that are open, and all attributes."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_balanced_loads_nothing_and_escapes_names(page):
    text = page.read_text(encoding="utf-8")
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    tags = {tag for tag, _ in parser.seen}
    assert not tags & {"script", "link", "iframe", "b", "i"}
    assert "http" not in text.replace("http-equiv", "")
    assert "Which pooling for &lt;b&gt;&amp;&#34;x.png?" in text
    assert all(attributes["alt"] for tag, attributes in parser.seen if tag == "img")
    ids = [attributes["id"] for _, attributes in parser.seen if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_a_benchmark_has_a_page_of_the_same_kind():
    case = cases.Case(cases.Size((8, 8), "HW", "float32"), "max", cases.Window(2), 1)
    timing = results.Timing(case, "poolcli numba", "done", times=(0.001, 0.002, 0.0015))
    found = results.Results(environment.environment(), "poolcli bench <x>", "2026-01-01T00:00:00", (timing,))
    text = report.rendered(report.benchmarked(found))
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    assert "poolcli bench &lt;x&gt;" in text
    assert "<svg" in text
    assert "max" in text


def test_both_commands_write_their_page(cli, samples):
    done = cli("compare", samples / "grey_odd.png", "-m", "max,avg", "-w", "k2", "--html", "own/page.html")
    assert (done.code, done.err) == (0, "")
    assert "grey_odd.png?</h1>" in Path("own/page.html").read_text(encoding="utf-8")
    assert cli("compare", samples / "grey_odd.png", "-m", "max", "--html", "own/page.html").code == 2
    done = cli(
        "bench", "--size", "32x32", "-m", "max", "-k", "2", "--engine", "numpy", "--runs", "1", "--html", "b.html"
    )
    assert done.code == 0
    assert "<caption>Timings</caption>" in Path("b.html").read_text(encoding="utf-8")


# --- in Chromium -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    play = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with play.sync_playwright() as started:
        made = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def opened(browser, page):
    """Open the page on a screen of some width and scheme; nothing may be said or asked for."""
    contexts, said = [], []

    def call(width=1400, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        contexts.append(context)
        shown = context.new_page()
        shown.on("console", lambda message: said.append(message.text))
        shown.on("pageerror", lambda error: said.append(str(error)))
        shown.on("request", lambda asked: said.append(asked.url))
        shown.goto(page.as_uri())
        return shown

    yield call
    for context in contexts:
        context.close()
    # the page itself, and no other file
    assert {url for url in said if not url.startswith("data:")} == {page.as_uri()}


def test_all_pictures_are_decoded_in_their_natural_size(opened):
    images = opened().evaluate(
        "[...document.images].map((image) => [image.complete && image.width > 0, image.naturalWidth, "
        "image.naturalHeight, Number(image.getAttribute('width')), Number(image.getAttribute('height'))])"
    )
    assert images == [[True, *size, *size] for size in [(120, 90), (60, 45), (60, 45), (40, 30), (40, 30)]]


def test_numbers_are_those_of_the_json(opened, compared):
    cells = opened().evaluate(
        "[...document.querySelectorAll('tbody tr')].map((row) => [row.querySelector('th').textContent, "
        "[...row.querySelectorAll('data')].map((cell) => Number(cell.value))])"
    )
    document = json.loads(json.dumps(compared.as_json()))
    names = [criterion["name"] for criterion in document["criteria"]]
    rows = [[row["method"], [row[name] for name in names if row[name] is not None]] for row in document["results"]]
    assert cells == rows


def test_focus_swaps_a_picture_with_the_input(opened):
    shown = opened()
    result = shown.locator(".swap").first
    assert result.locator("img").evaluate("(image) => getComputedStyle(image).opacity") == "1"
    shown.keyboard.press("Tab")
    assert result.evaluate("(swap) => swap === document.activeElement")
    assert result.locator("img").evaluate("(image) => getComputedStyle(image).opacity") == "0"
    original = shown.locator("img").first.get_attribute("src")
    assert original in result.evaluate("(swap) => getComputedStyle(swap).backgroundImage")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1400])
def test_it_fits_its_width_and_can_be_read(opened, width, scheme):
    shown = opened(width, scheme)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    assert shown.evaluate(CONTRAST) >= 4.5


def test_it_prints_whole_tables(opened):
    shown = opened()
    shown.emulate_media(media="print")
    assert shown.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert shown.evaluate("getComputedStyle(document.querySelector('.wide')).overflowX") == "visible"
    assert shown.pdf(format="A4")[:4] == b"%PDF"
