"""The page: what it says, what it escapes, and how it behaves in a real browser."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.contour import ContourSet

import rfcompare as rfc
from rfcompare import figures, pipeline
from rfcompare.figures.drawing import populations
from rfcompare.reporting import plane, tables, words
from rfcompare.simulation import simulate_population

LARGEST_PAGE = 5_000_000
"""Bytes: a page that still opens on a phone."""

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)

HOSTILE = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 2'>\"'&"


@pytest.fixture(scope="module")
def fits() -> list[xr.Dataset]:
    cortex, _ = simulate_population(n=30, n_subjects=4, size=13, snr=4, deg_per_px=0.5, seed=1)
    kernels, _ = simulate_population(n=20, size=11, seed=2)
    kernels = kernels.assign_attrs(kind="learned", title="small net", citation="A 2001", sha256="ab" * 32)
    cortex = cortex.assign_attrs(title="simulated cortex", citation="assumed parameters")
    return [rfc.fit(bank, "gabor", seed=0) for bank in (cortex, kernels)]


@pytest.fixture(scope="module")
def result(fits: list[xr.Dataset]) -> xr.Dataset:
    return rfc.likeness(*fits, references=False, seed=0)


@pytest.fixture(scope="module")
def page(fits: list[xr.Dataset], result: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    return rfc.write_report(
        folder / "report.html",
        fits=fits,
        result=result,
        figures={"gabor_space": figures.gabor_space(*fits), "fits": figures.fits(*fits)},
        tables={"extra": pd.DataFrame({"word": ["=1+1", HOSTILE], "number": [-1.5, np.nan]})},
        manifest={"rfcompare": "0.1.0", "packages": {"numpy": "2.0"}, "seed": 0, "note": HOSTILE},
        warnings=["subjects are unknown", HOSTILE],
    )


@pytest.fixture(scope="module")
def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------------ what it says


def test_the_answer_stands_first(text: str, result: xr.Dataset) -> None:
    answer = re.search(r'id="answer">(.*?)</p>', text, flags=re.DOTALL)
    assert answer
    value = float(result.effect.sel(quantity="likeness"))
    assert answer[1].startswith("<strong>Demonstration: the learned kernels")
    assert f"{value:.2f}".replace("-", "−") in answer[1]
    assert "0 is noise with the cortex" in answer[1]
    assert text.index('id="answer"') < text.index('id="evidence"') < text.index('id="methods"')


def test_a_table_says_its_kinds(text: str, result: xr.Dataset) -> None:
    kinds = f"<p>Cells: {result.attrs['kind_a']}; kernels: {result.attrs['kind_b']}.</p>"
    assert kinds in text.split("<h3>What differs, and by how much</h3>")[1].split("<table")[0]


def test_without_a_null_there_is_no_similarity(fits: list[xr.Dataset], tmp_path: Path) -> None:
    page = rfc.write_report(tmp_path / "page.html", fits=fits).read_text(encoding="utf-8")
    assert "not yet tested against chance" in page
    assert "95 % interval" not in page


def test_methods_say_what_was_run(text: str, fits: list[xr.Dataset]) -> None:
    assert "30 units of 4 subjects, 13 × 13 pixels" in text
    assert f"engine {fits[0].attrs['engine']}" in text
    assert f"median r² {np.median(fits[1].r2.values):.3f}" in text
    assert "Zero is noise with the cells' own spectrum and window" in html.unescape(text)
    assert "ab" * 32 in text
    assert (
        "drawn by a simulation from assumed parameters, not recorded; nothing here is a finding about an animal" in text
    )


def test_parametric_r2_is_not_claimed(fits: list[xr.Dataset]) -> None:
    rendered = fits[1].assign_attrs(kind="parametric")
    said = " ".join(words.methods([rendered]))
    assert "fixed by construction" in said


def test_one_small_file_without_requests(page: Path, text: str) -> None:
    assert page.stat().st_size < LARGEST_PAGE
    assert "default-src 'none'" in text
    outside = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', outside)
    assert "@import" not in outside
    assert not re.findall(r"url\(", outside)


def test_everything_from_files_is_escaped(text: str) -> None:
    assert HOSTILE not in text
    assert "<img src=x" not in text
    assert text.count("</script>") == len(re.findall(r"<script[ >]", text))


def test_hostile_names_stay_text(fits: list[xr.Dataset], tmp_path: Path) -> None:
    names = np.array([HOSTILE, *fits[0].unit.values[1:]], dtype=object)
    hostile = (
        fits[0].assign_coords(unit=("unit", names)).assign_attrs(title=HOSTILE, citation=HOSTILE, stimulus=HOSTILE)
    )
    text = rfc.write_report(tmp_path / "page.html", fits=[hostile]).read_text(encoding="utf-8")
    assert HOSTILE not in text
    specification = re.search(r'id="plane-specification">(.*?)</script>', text, flags=re.DOTALL)
    assert specification
    assert json.loads(specification[1])["data"]["values"][0]["unit"] == HOSTILE


def test_a_figure_on_disk_is_taken_as_it_is(fits: list[xr.Dataset], tmp_path: Path) -> None:
    written = figures.save(figures.gabor_space(*fits), "plane", tmp_path, formats=["png"])
    text = rfc.write_report(tmp_path / "page.html", fits=fits, figures={"plane": written[0]}).read_text("utf-8")
    assert base64.b64encode(written[0].read_bytes()).decode() in text
    assert html.escape(figures.caption(figures.gabor_space(*fits))) in text.replace("&#39;", "&#x27;")


def test_plane_holds_every_fitted_unit(text: str, fits: list[xr.Dataset]) -> None:
    specification = json.loads(re.search(r'id="plane-specification">(.*?)</script>', text, flags=re.DOTALL)[1])  # type: ignore[index]
    values = specification["data"]["values"]
    assert [value["row"] for value in values] == list(range(50))
    assert values[0]["nx"] == pytest.approx(float((fits[0].sigma_x * fits[0].frequency)[0]), rel=1e-3)


def test_the_plane_has_what_the_printed_one_has(fits: list[xr.Dataset], tmp_path: Path) -> None:
    histogram = pipeline.ringach()
    many, _ = simulate_population(n=60, size=13, seed=5)
    cloud = rfc.fit(many, "gabor", seed=0)
    text = rfc.write_report(tmp_path / "page.html", fits=[cloud], published=histogram).read_text(encoding="utf-8")
    layers = json.loads(re.search(r'id="plane-specification">(.*?)</script>', text, flags=re.DOTALL)[1])["layer"]  # type: ignore[index]
    cells = layers[0]["data"]["values"]
    assert sum(cell["count"] for cell in cells) == 79
    assert len(cells) == int((histogram["count"].values > 0).sum())
    line = next(layer for layer in layers if isinstance(layer["mark"], dict) and layer["mark"]["type"] == "line")
    printed = next(item for item in figures.gabor_space(cloud).axes[0].collections if isinstance(item, ContourSet))
    drawn = np.concatenate([path.vertices for path in printed.get_paths()])
    shown = np.array([[point["nx"], point["ny"]] for point in line["data"]["values"]])
    assert np.abs(shown.min(0) - drawn.min(0)).max() < 0.01 and np.abs(shown.max(0) - drawn.max(0)).max() < 0.01
    assert "Ringach 2002 (published, n = 79)" in text


def test_tables_have_titles_and_say_nothing_twice() -> None:
    frame = pd.DataFrame(
        {"quantity": ["a", "b"], "effect": [-1.0, 2.0], "null": [np.nan] * 2, "kind_a": "simulated",
         "title": ["A", "B"], "units": ["deg", ""]}
    )  # fmt: skip
    table = tables.page_table("t", "T", frame)
    assert [column["name"] for column in table["columns"]] == ["title", "effect", "units", "kind_a", "null", "quantity"]
    assert [column["title"] for column in table["columns"]][:2] == ["name", "effect"]
    assert table["shown"] == 3  # not what is empty, or said above the table
    assert [row[0]["text"] for row in table["rows"]] == ["A (deg)", "B"]
    assert table["rows"][0][1] == {"text": "−1", "value": "-1"}


def test_rows_of_one_title_are_told_apart_in_their_names() -> None:
    frame = pd.DataFrame(
        {"quantity": ["a_frequency_one", "a_frequency_two", "b"], "effect": [0.1, 0.2, 0.3],
         "citation": ["A & B 1982", "A & B 1982", "C 2002"], "title": ["Peak", "Peak", "Width"]}
    )  # fmt: skip
    table = tables.page_table("t", "T", frame)
    assert [row[0]["text"] for row in table["rows"]] == ["Peak, one", "Peak, two", "Width"]
    assert [column["name"] for column in table["columns"]][: table["shown"]] == ["title", "effect"]


def test_maps_are_packed_within_half_a_step(fits: list[xr.Dataset]) -> None:
    packed = plane.packed_maps(fits, populations(fits))
    data = np.frombuffer(base64.b64decode(packed[0]["units"]["3"][0]), dtype=np.int8).reshape(13, 13)[::-1]
    values = fits[0].rf.values[3, 0]
    limit = max(np.abs(values).max(), np.abs(fits[0].rf_fit.values[3, 0]).max())
    np.testing.assert_allclose(data / 127 * limit, values, atol=0.51 * limit / 127)  # rounding to a step of limit/127


def test_many_maps_keep_the_page_small(fits: list[xr.Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 5,000 bytes a side: a 13 × 13 map pair takes 2 · 169 · 4/3 + 40 = 491 bytes, so 10 fit; 11 × 11: 363, 13.
    monkeypatch.setattr(plane, "_MAP_BYTES", 10_000)
    page = rfc.write_report(tmp_path / "page.html", fits=fits)
    packed = json.loads(re.search(r'id="maps">(.*?)</script>', page.read_text(encoding="utf-8"))[1])  # type: ignore[index]
    assert [len(side["units"]) for side in packed] == [10, 13]
    assert {"0", "29"} <= set(packed[0]["units"])


def test_bad_input_is_one_sentence(fits: list[xr.Dataset], tmp_path: Path) -> None:
    with pytest.raises(rfc.InputError, match="expected Gabor fits that carry their maps"):
        rfc.write_report(tmp_path / "page.html", fits=[])
    with pytest.raises(rfc.InputError, match="does not exist"):
        rfc.write_report(tmp_path / "absent" / "page.html", fits=fits)
    assert not list(tmp_path.iterdir())


def test_a_stimulus_is_told_in_words() -> None:
    assert (
        words._stimulus_text('{"class": "sparse noise", "element_deg": 0.8}') == "class sparse noise, element deg 0.8"
    )
    assert words._stimulus_text("unknown") == "unknown"


def test_tables_round_as_they_say() -> None:
    assert tables._cell(0.123456789, True) == {"text": "0.123", "value": "0.123457"}
    assert tables._cell(3.0, True) == {"text": "3", "value": "3"}
    assert tables._cell(float("nan"), True) == {"text": "", "value": ""}
    assert tables._cell(None, False) == {"text": "", "value": ""}


# -------------------------------------------------------------------------------------------------------- in a browser


def chromium() -> str:
    """Path of an installed Chromium, or a skip that says why."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    named = os.environ.get("RFCOMPARE_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not found:
        pytest.skip("no Chromium is installed: install Debian's package chromium to test the page in a browser")
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield running
        running.close()


ROW_MOST = 40
"""Pixels that a table's row of one line may be high; two lines take more."""


SHEETS = 4
"""Of A4 that the page of these tests takes: two figures with captions, two short tables, methods; without print's own
style it takes seven."""


class Opened:
    """A page with what it logged and asked for."""

    def __init__(self, browser: Any, path: Path, *, width: int, height: int, **how: str) -> None:
        self.tab = browser.new_page(viewport={"width": width, "height": height}, accept_downloads=True, **how)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.tab.on("console", lambda message: self._log(message.type, message.text))
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.goto(path.as_uri())
        self.tab.wait_for_selector("html[data-ready=yes]", state="attached")

    def _log(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.errors.append(text)


@pytest.fixture(scope="module", params=[(1280, 900), (390, 844)], ids=["desk", "phone"])
def opened(request: pytest.FixtureRequest, browser: Any, page: Path) -> Iterator[Opened]:
    width, height = request.param
    found = Opened(browser, page, width=width, height=height)
    yield found
    found.tab.close()


def test_no_console_error_no_request_no_script_from_data(opened: Opened) -> None:
    assert not opened.errors
    assert not [address for address in opened.requests if not address.startswith(("file:", "data:", "blob:"))]
    assert opened.tab.evaluate("window.broken") is None


def test_nothing_is_wider_than_the_screen(opened: Opened) -> None:
    width = opened.tab.evaluate("document.documentElement.scrollWidth")
    assert width <= opened.tab.viewport_size["width"]


def test_hover_and_tap_show_the_unit(opened: Opened, fits: list[xr.Dataset]) -> None:
    tab = opened.tab
    canvas = tab.query_selector("#plane canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    seen = set()
    for across, up, act in ((0.3, 0.3, "move"), (0.7, 0.6, "move"), (0.55, 0.45, "click")):
        x, y = box["x"] + across * box["width"], box["y"] + (1 - up) * box["height"]
        (tab.mouse.move if act == "move" else tab.mouse.click)(x, y)
        tab.wait_for_timeout(200)
        seen.add(tab.get_attribute("#detail", "data-row"))
    assert len(seen) >= 2
    row = int(tab.get_attribute("#detail", "data-row"))
    side, unit = (0, row) if row < 30 else (1, row - 30)
    name = str(fits[side].unit.values[unit])
    assert name in tab.inner_text("#detail h3")
    assert f"{float((fits[side].sigma_x * fits[side].frequency)[unit]):.3g}" in tab.inner_text("#detail dl")
    shape = tab.evaluate(
        "(() => { const c = document.querySelector('canvas[data-map=data]'); return [c.width, c.height]; })()"
    )
    assert shape == ([13, 13] if side == 0 else [11, 11])
    assert tab.is_visible("#detail [data-role=simulated]") == (side == 0)


def test_arrow_keys_step_through_the_units(opened: Opened) -> None:
    tab = opened.tab
    tab.evaluate("document.querySelectorAll('#table-units tbody tr')[4].click()")
    tab.focus("#plane")
    tab.keyboard.press("ArrowRight")
    assert tab.get_attribute("#detail", "data-row") == "5"
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("ArrowLeft")
    assert tab.get_attribute("#detail", "data-row") == "3"


def test_the_shown_map_is_the_unit_map(opened: Opened, fits: list[xr.Dataset]) -> None:
    tab = opened.tab
    tab.evaluate("document.querySelectorAll('#table-units tbody tr')[2].click()")
    assert tab.get_attribute("#detail", "data-row") == "2"
    pixels = tab.evaluate(
        "(() => { const c = document.querySelector('canvas[data-map=data]');"
        " return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; })()"
    )
    colors = np.array(pixels).reshape(13, 13, 4)[::-1]  # rows from the top → y up
    values = fits[0].rf.values[2, 0]
    strong = np.abs(values) > 0.5 * np.abs(values).max()
    # ON is red, OFF is blue.
    np.testing.assert_array_equal((colors[..., 0] > colors[..., 2])[strong], (values > 0)[strong])


def test_tables_sort_filter_and_download(opened: Opened) -> None:
    tab = opened.tab
    section = "[data-table=units]"

    def column(name: str) -> list[float]:
        texts = tab.evaluate(
            "(name) => { const t = document.querySelector('#table-units');"
            " const i = [...t.tHead.rows[0].cells].findIndex((c) => c.dataset.name === name);"
            " return [...t.tBodies[0].rows].filter((r) => !r.hidden).map((r) => r.cells[i].dataset.value); }",
            name,
        )
        return [float(text) for text in texts if text]

    tab.click(f"{section} th[data-name=nx] button")
    assert column("nx") == sorted(column("nx"))
    assert tab.get_attribute(f"{section} th[data-name=nx]", "aria-sort") == "ascending"
    tab.click(f"{section} th[data-name=nx] button")
    assert column("nx") == sorted(column("nx"), reverse=True)
    tab.fill(f"{section} input", "nx>0.3 learned")
    kept = column("nx")
    assert kept
    assert min(kept) > 0.3
    assert f"{len(kept)} of 50 rows" in tab.inner_text(f"{section} [data-role=count]")
    with tab.expect_download() as waiting:
        tab.click(f"{section} [data-role=download]")
    rows = list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text(encoding="utf-8"))))
    assert len(rows) == len(kept)
    assert {row["kind"] for row in rows} == {"learned"}
    assert waiting.value.suggested_filename == "units.csv"
    tab.fill(f"{section} input", "")


def test_a_filter_that_names_no_column_of_the_table_says_so(opened: Opened) -> None:
    tab = opened.tab
    tab.fill("[data-table=extra] input", "nx>0.5")
    assert "no column “nx”" in tab.inner_text("[data-table=extra] [data-role=count]")
    tab.fill("[data-table=extra] input", "")
    assert "no column" not in tab.inner_text("[data-table=extra] [data-role=count]")


def test_a_table_shows_eight_columns_until_asked_for_more(opened: Opened) -> None:
    tab = opened.tab
    count = "() => [...document.querySelectorAll('#table-units th')].filter((head) => head.offsetWidth).length"
    assert tab.evaluate(count) == 8
    tab.click("[data-table=units] [data-role=columns]")
    assert tab.evaluate(count) == tab.locator("#table-units th").count() > 8
    tab.click("[data-table=units] [data-role=columns]")
    assert tab.evaluate(count) == 8


def test_pictures_fit_the_screen_and_rows_are_one_line_high(opened: Opened) -> None:
    tab = opened.tab
    widths = tab.evaluate("[...document.querySelectorAll('.figure img')].map((image) => image.clientWidth)")
    assert widths
    assert max(widths) <= tab.viewport_size["width"]
    heights = tab.evaluate("[...document.querySelectorAll('[data-table] tbody tr')].map((row) => row.clientHeight)")
    assert max(heights) < ROW_MOST


def test_downloaded_text_is_no_formula(opened: Opened) -> None:
    tab = opened.tab
    with tab.expect_download() as waiting:
        tab.click("[data-table=extra] [data-role=download]")
    rows = list(csv.reader(io.StringIO(Path(waiting.value.path()).read_text(encoding="utf-8"))))
    assert rows[1] == ["'=1+1", "-1.5"]
    assert rows[2] == [HOSTILE, ""]


def test_accessible(opened: Opened) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(opened.tab)
    assert found.violations_count == 0, found.generate_report()


def test_in_the_dark_the_page_is_dark_and_still_read(browser: Any, page: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = Opened(browser, page, width=1280, height=900, color_scheme="dark")
    paper, ink = (
        found.tab.evaluate(f"getComputedStyle(document.body).{name}.match(/\\d+/g).map(Number)")
        for name in ("backgroundColor", "color")
    )
    assert max(paper) < 64 < 192 < min(ink)  # of 255: the darkest and the lightest quarter
    assert found.tab.evaluate("getComputedStyle(document.querySelector('.figure img')).backgroundColor") == (
        "rgb(255, 255, 255)"  # black axes are not seen on a dark page
    )
    contrast = axe.Axe().run(found.tab)
    assert contrast.violations_count == 0, contrast.generate_report()
    found.tab.close()


def test_a_figure_is_shown_in_full_size_where_the_screen_is_small(opened: Opened) -> None:
    tab = opened.tab
    box = tab.locator("#figure-fits input")
    assert box.is_visible() == (tab.viewport_size["width"] < 1000)
    if not box.is_visible():
        return
    box.check()
    wide = tab.evaluate("document.querySelector('#figure-fits img').clientWidth")
    assert wide == int(tab.get_attribute("#figure-fits img", "width")) > tab.viewport_size["width"]
    assert tab.evaluate("document.documentElement.scrollWidth") <= tab.viewport_size["width"]
    box.uncheck()


def test_prints_on_few_sheets_and_cuts_no_table(opened: Opened) -> None:
    tab = opened.tab
    printed = tab.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert len(printed) > 50_000  # with its figures, not a blank sheet
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) <= SHEETS
    tab.emulate_media(media="print")
    names = tab.evaluate(
        "[...document.querySelectorAll('[data-table]')].filter((table) => table.offsetHeight)"
        ".filter((table) => getComputedStyle(table.parentElement).breakInside !== 'avoid').map((t) => t.dataset.table)"
    )
    assert not names
    assert not tab.is_visible("[data-table=units]")
    tab.emulate_media(media="screen")


def test_subjects_that_nobody_names_are_no_zero() -> None:
    frame = pd.DataFrame({"title": ["orientation"], "n_units_a": [246], "n_subjects_a": [0], "n_subjects_b": [1]})
    table = tables.page_table("published", "Published", frame)
    shown = dict(zip([column["name"] for column in table["columns"]], table["rows"][0], strict=True))
    assert shown["n_subjects_a"]["text"] == "" and shown["n_subjects_b"]["text"] == "1"
    assert table["columns"][-1]["name"] == "n_subjects_a"  # nothing is in it: it is not among those shown first
