"""The built book, as its readers' browsers see it: no network, no broken formula, no sideways scrolling."""

import functools
import http.server
import json
import os
import re
import shutil
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "html"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NEEDED = os.environ.get("BOOK_TESTS_NEED_BROWSER") == "1"

if not (SITE / "index.html").exists():
    pytest.skip("there is no built book: run `make book`", allow_module_level=True)

PAGES = sorted(
    str(path.relative_to(SITE)) for folder in ("book", "notebooks") for path in (SITE / folder).glob("*.html")
)
# A reader may have no browser; continuous integration must, and says so in the environment.
needs_browser = pytest.mark.skipif(
    CHROMIUM is None and not NEEDED, reason="no Chromium on this machine: install Debian's package chromium"
)


class Page(HTMLParser):
    """Links, anchors and images of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.links, self.anchors, self.images = [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors |= {attributes[key] for key in ("id", "name") if attributes.get(key)}
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        if tag == "img":
            self.images.append(attributes)


@functools.cache
def page(name: str) -> Page:
    return Page((SITE / name).read_text())


@functools.cache
def claims() -> list[dict]:
    return json.loads((ROOT / "_build" / "claims.json").read_text())


def test_every_page_of_the_table_of_contents_is_there():
    listed = re.findall(r"file: (\S+)", (ROOT / "_toc.yml").read_text())
    assert {f"{name}.html" for name in [*listed, "book/index"]} == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_links_within_the_site_lead_somewhere(name):
    for link in page(name).links:
        target, fragment = urldefrag(urljoin(name, link))
        if urlsplit(target).scheme or not target.endswith(".html"):
            continue
        assert (SITE / target).is_file(), f"{name} links to {link}"
        if fragment and target in PAGES:
            assert unquote(fragment) in page(target).anchors, f"{name} links to {link}"


@pytest.mark.parametrize("name", PAGES)
def test_every_picture_is_described(name):
    for image in page(name).images:
        assert len(image.get("alt", "")) > 20 or "logo" in image.get("class", ""), f"{name}: {image.get('src')}"
        assert not image["src"].startswith("http")


@pytest.mark.parametrize("chapter", re.findall(r"file: book/(\S+)\n +sections:", (ROOT / "_toc.yml").read_text()))
def test_a_chapter_leads_with_a_picture_of_its_notebook(chapter):
    text = (SITE / "book" / f"{chapter}.html").read_text()
    assert 0 < text.index('class="lead-caption') < text.index('class="proof ')
    assert text.index("<img", text.index("<h1")) < text.index('class="lead-caption')


def test_every_claim_is_on_the_claims_page_and_beside_its_theorem():
    chapters = [page(name) for name in PAGES if name.startswith("book/") and name != "book/claims.html"]
    beside = {link.split("#")[1] for chapter in chapters for link in chapter.links if "claims.html#" in link}
    for claim in claims():
        anchor = f"claim-{claim['id']}"
        assert anchor in page("book/claims.html").anchors
        assert anchor in page(f"notebooks/{claim['notebook']}.html").anchors
        assert anchor in beside
    assert {link for link in beside if link.startswith("claim-")} == {f"claim-{claim['id']}" for claim in claims()}


@pytest.mark.parametrize("name", ["book/index.html", "book/claims.html"])
def test_the_abstracts_claims_stand_with_their_verdicts(name):
    """Claims A to G in a table, and every statement of the book in it but C1, C2 and P1, which are tools."""
    (table,) = re.findall(r"<table.*?</table>", (SITE / name).read_text(), re.DOTALL)[:1]
    rows = re.findall(r"<td><p>([A-G])</p></td>(.*?)</tr>", table, re.DOTALL)
    assert [letter for letter, _ in rows] == list("ABCDEFG")
    chips = [re.findall(r'href="[^"]*#claims-(\w+)" title="(\d+) of (\d+) checks', row) for _, row in rows]
    assert all(chips)
    statements = [claim["statement"] for claim in claims()]
    assert {label for row in chips for label, _, _ in row} == {label.lower() for label in statements} - {
        "c1",
        "c2",
        "p1",
    }
    for label, hold, count in {chip for row in chips for chip in row}:
        assert int(hold) == int(count) == statements.count(label.upper())


def test_the_site_is_small_enough_to_carry_around():
    assert sum(path.stat().st_size for path in SITE.rglob("*") if path.is_file()) < 25e6


@pytest.fixture(scope="module")
def address():
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.fail("BOOK_TESTS_NEED_BROWSER is set and there is no Chromium")
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield chromium
        chromium.close()


@needs_browser
@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_without_a_network(name, browser, address):
    left, errors = [], []
    context = browser.new_context(viewport={"width": 1280, "height": 900})

    def gate(route):
        if route.request.url.startswith((address, "data:", "blob:")):
            route.continue_()
        else:
            left.append(route.request.url)
            route.abort()

    context.route("**/*", gate)
    view = context.new_page()
    view.on("pageerror", lambda error: errors.append(str(error)))
    response = view.goto(f"{address}/{name}", wait_until="load")
    assert response.ok
    if "math notranslate" in (SITE / name).read_text():
        view.wait_for_function("window.MathJax && MathJax.startup && MathJax.startup.promise")
        view.evaluate("() => MathJax.startup.promise")
        assert view.locator("mjx-container").count() > 0
    assert view.locator("mjx-merror").count() == 0
    assert view.evaluate("() => [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)") == []

    view.set_viewport_size({"width": 390, "height": 844})
    wide = view.evaluate(WIDER_THAN_THE_SCREEN)
    assert view.evaluate("() => document.documentElement.scrollWidth") <= 390, wide
    context.close()
    assert (left, errors) == ([], [])


# What sticks out to the right and does not scroll inside a box of its own.
WIDER_THAN_THE_SCREEN = """() => [...document.querySelectorAll('main *')]
  .filter(e => e.getBoundingClientRect().right > 391)
  .filter(e => { for (let p = e.parentElement; p; p = p.parentElement)
      if (p !== document.body && getComputedStyle(p).overflowX !== 'visible' && p.tagName !== 'HTML') return false;
    return true; })
  .slice(0, 8).map(e => e.tagName + '.' + e.className + ' ' + (e.textContent || '').trim().slice(0, 60))"""
