"""report.html in Chromium: it loads nothing, and what can be clicked does what it says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_experiment
import numpy as np
import pytest

from gossipsim.report import page as pages
from gossipsim.report.provenance import Provenance
from gossipsim.results import load, write_tables, write_text

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
SWITCHES += ["--disable-component-update", "--disable-sync"]
EXPLORER = "#section-0 .explorer"

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")]


def write_frames(folder: Path, nodes: int) -> None:
    """Nodes that part and come together again; each is evaluated every 20 steps."""
    draws = np.random.default_rng(nodes)
    frames = []
    for step in range(0, 221, 2):
        scale = 1e-15 if step == 0 else 0.5 * np.exp(-0.02 * step)
        frames.append({"step": step, "round": step, "distance": (scale * draws.uniform(0.2, 1, nodes)).tolist()})
        if step % 20 == 0:
            frames[-1]["local_test_accuracy"] = [None, *draws.uniform(0.1, 1, nodes - 1).tolist()]
    fake_experiment.write_lines(folder / "nodes.jsonl", frames)


def write_page(directory: Path, **options: Any) -> Path:
    """An experiment and its page, without the figures, which take longer than all else."""
    fake_experiment.experiment(directory, **options)
    for run in load(directory).runs:
        if run.status == "complete":
            write_frames(run.directory, int(run.swept.get("network.nodes", 4)))
    write_tables(directory)
    results = load(directory)
    write_text(directory / "report.html", pages.render(results, [], Provenance.of(results)))
    return directory / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    statuses = {
        ("MLP", "SGD", "nodes=4, cycle_graph", 0): "failed",
        ("MLP", "SGD", "nodes=4, cycle_graph", 1): "diverged",
    }
    directory = tmp_path_factory.mktemp("workflow") / "exp_0001"
    return write_page(directory, models=("MLP",), statuses=statuses)


@pytest.fixture(scope="module")
def opened(browser: Any, file: Path) -> Iterator[tuple[Any, list[str], list[str]]]:
    """The page with what it asked of the network and what it complained of."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, color_scheme="light")
    context.set_default_timeout(20_000)
    context.route(lambda url: not url.startswith(("file:", "data:", "blob:")), lambda route: route.abort())
    tab = context.new_page()
    requests: list[str] = []
    complaints: list[str] = []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(file.as_uri())
    tab.locator(f"{EXPLORER} .scatterlayer .trace").first.wait_for()
    yield tab, requests, complaints
    assert complaints == []
    context.close()


@pytest.fixture
def tab(opened: tuple[Any, list[str], list[str]], file: Path) -> Any:
    """The page as it was when it was opened."""
    tab = opened[0]
    tab.evaluate("localStorage.clear()")
    tab.goto(file.as_uri())
    tab.locator(f"{EXPLORER} .scatterlayer .trace").first.wait_for()
    return tab


def drawn_lines(tab: Any) -> int:
    """Curves in the first chart, bands not counted."""
    return int(
        tab.evaluate("document.querySelector('#section-0 .chart').data.filter((one) => one.fill === undefined).length")
    )


def wait_for_lines(tab: Any, count: int) -> None:
    tab.locator(f"{EXPLORER} .shown").filter(has_text=f"{count} of 7 curves").wait_for()
    tab.wait_for_timeout(50)
    assert drawn_lines(tab) == count


def axis(tab: Any, name: str) -> dict[str, Any]:
    tab.wait_for_timeout(50)
    layout: dict[str, Any] = json.loads(
        tab.evaluate(f"JSON.stringify(document.querySelector('#section-0 .chart').layout.{name})")
    )
    return layout


def fills(tab: Any) -> list[str]:
    found: list[str] = tab.locator("#player circle").evaluate_all("(all) => all.map((one) => one.style.fill)")
    return found


def test_it_asks_the_network_for_nothing(opened: tuple[Any, list[str], list[str]], file: Path) -> None:
    tab, requests, complaints = opened
    tab.evaluate("scrollTo(0, document.body.scrollHeight)")
    tab.locator("#player .beside .scatterlayer .trace").first.wait_for(state="attached")
    assert {url for url in requests if not url.startswith(("data:", "blob:"))} == {file.as_uri()}
    assert complaints == []
    buttons = tab.locator(".modebar-btn").evaluate_all("(all) => all.map((one) => one.dataset.title)")
    assert set(buttons) == {"Download plot", "Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"}


def test_a_click_in_the_legend_hides_a_curve(tab: Any) -> None:
    wait_for_lines(tab, 7)  # of 8 cells one has no complete run
    item = tab.locator(f"{EXPLORER} .item").first
    item.click()
    wait_for_lines(tab, 6)
    assert item.get_attribute("aria-pressed") == "false"
    tab.locator(f"{EXPLORER} .whole").first.click()
    wait_for_lines(tab, 3)
    tab.locator(f"{EXPLORER} .bulk button[value=all]").click()
    wait_for_lines(tab, 7)
    item.dblclick()
    wait_for_lines(tab, 1)


def test_filters_leave_the_curves_that_have_the_values(tab: Any) -> None:
    tab.locator(f"{EXPLORER} .pill", has_text="complete_graph").click()
    wait_for_lines(tab, 3)
    titles = tab.locator(f"{EXPLORER} .item:visible").evaluate_all("(all) => all.map((one) => one.title)")
    assert len(titles) == 3
    assert all("cycle_graph" in title for title in titles)
    tab.locator(f"{EXPLORER} .pill", has_text="complete_graph").dblclick()
    wait_for_lines(tab, 4)


def test_metric_axis_and_scale_can_be_chosen(tab: Any) -> None:
    assert axis(tab, "xaxis")["title"]["text"] == "epoch"
    assert axis(tab, "yaxis")["type"] == "linear"
    tab.locator(f"{EXPLORER} .axis").select_option("bytes_sent")
    assert axis(tab, "xaxis")["title"]["text"] == "bytes sent"
    tab.locator(f"{EXPLORER} .metric").select_option(label="train loss")
    assert axis(tab, "yaxis")["title"]["text"] == "train loss"
    assert axis(tab, "yaxis")["type"] == "log"
    tab.locator(f"{EXPLORER} .scale[value=linear]").click()
    assert axis(tab, "yaxis")["type"] == "linear"
    tab.locator(f"{EXPLORER} .metric").select_option(label="batch loss")
    assert axis(tab, "xaxis")["title"]["text"] == "step"


def test_curves_are_the_means_of_the_runs(tab: Any, file: Path) -> None:
    tab.locator(f"{EXPLORER} .metric").select_option(label="train loss")
    axis(tab, "xaxis")
    chart = (
        "document.querySelector('#section-0 .chart').data.find((one) => one.name?.startsWith('StochasticFrankWolfe'))"
    )
    line = json.loads(tab.evaluate(f"JSON.stringify({chart})"))
    cell = next(cell for cell in load(file.parent).cells if " · ".join(cell.labels.values()).endswith(line["name"]))
    expected = np.mean([[record["train_loss"] for record in run.history] for run in cell.complete], axis=0)
    np.testing.assert_allclose(line["y"], expected, rtol=1e-4)
    assert "± " in line["hovertext"][3]


def test_the_slider_moves_the_nodes(tab: Any) -> None:
    tab.locator("#player").scroll_into_view_if_needed()
    before = fills(tab)
    assert len(before) == 4
    slider = tab.locator("#player .frame")
    slider.focus()
    for _ in range(3):
        slider.press("ArrowRight")
    assert fills(tab) != before
    step = int(tab.locator("#player .when").inner_text().split()[1])
    assert step > 0
    tab.locator("#player .shade").select_option(index=1)
    accuracy = fills(tab)
    assert accuracy[0] == "var(--line)"  # not evaluated
    assert len(set(accuracy[1:])) == 3
    tab.locator("#player .graph").focus()
    tab.locator("#player .graph").press("ArrowRight")
    assert tab.locator("#tip").inner_text().startswith("node 0 · 150 samples · distance ")


def test_it_plays_and_pauses(tab: Any) -> None:
    play = tab.locator("#player .play")
    play.click()
    tab.locator("#player .play[aria-label=pause]").wait_for()
    tab.wait_for_timeout(400)
    play.click()
    place = int(tab.locator("#player .frame").input_value())
    assert place > 0
    tab.wait_for_timeout(200)
    assert int(tab.locator("#player .frame").input_value()) == place


def test_another_run_has_its_own_graph(tab: Any) -> None:
    tab.locator("#player .film").select_option(index=3)
    assert tab.locator("#player circle").count() == 8


def test_the_button_changes_the_colours(tab: Any) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = tab.evaluate(background)
    button = tab.locator("#theme")
    assert button.get_attribute("aria-pressed") == "false"
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    dark = tab.evaluate(background)
    assert dark != light
    tab.reload()
    assert tab.evaluate(background) == dark


def test_a_head_sorts_its_column(tab: Any) -> None:
    head = tab.locator("#section-0 table.ranked th", has_text="train loss").first
    column = head.evaluate("(one) => one.cellIndex")
    head.focus()
    head.press("Enter")
    cells = tab.locator(f"#section-0 table.ranked td:nth-child({column + 1})")
    values = [float(value) for value in cells.evaluate_all("(all) => all.map((one) => one.dataset.value)") if value]
    assert len(values) == 7
    assert values == sorted(values)


def test_a_phone_scrolls_in_one_direction(browser: Any, file: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    tab = context.new_page()
    tab.goto(file.as_uri())
    tab.locator(f"{EXPLORER} .scatterlayer .trace").first.wait_for()
    tab.evaluate("scrollTo(0, document.body.scrollHeight)")
    tab.locator("#player .beside .scatterlayer .trace").first.wait_for(state="attached")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


def test_paper_is_white_and_unfolded(browser: Any, file: Path) -> None:
    context = browser.new_context(color_scheme="dark")
    tab = context.new_page()
    tab.goto(file.as_uri())
    tab.locator(f"{EXPLORER} .scatterlayer .trace").first.wait_for()
    closed = tab.locator("details:not([open])").count()
    assert closed
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    tab.wait_for_timeout(100)
    assert tab.locator("details:not([open])").count() == 0
    assert tab.evaluate("document.querySelector('#section-0 .chart').layout.width") == 680
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(251, 252, 253)"
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.locator("details:not([open])").count() == closed
    context.close()


def test_a_name_that_is_code_does_nothing(browser: Any, tmp_path: Path) -> None:
    name = "</script><img src=x onerror=alert(1)><b>%{x}"
    file = write_page(tmp_path / "exp_0001", models=(name,), optimizers=(name,), cells={name: {"a.b": name}}, name=name)
    tab = browser.new_page()
    problems: list[str] = []
    tab.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.goto(file.as_uri())
    tab.locator(f"{EXPLORER} .scatterlayer .trace").first.wait_for()
    assert problems == []
    assert tab.locator("h1").inner_text() == name
    assert tab.locator("img").count() == 0
    tab.close()
