"""The page of results: complete, safe, without a network, and drawn in a browser."""

import html
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from alseg_fast.errors import RangeError, RunError
from alseg_fast.simulation.results.page import write_page
from alseg_fast.simulation.results.published import PUBLISHED
from alseg_fast.stages.report_html import content_policy
from round_rows import comparison, row, run

HOSTILE = "</script><script>document.title='owned'</script> & \"<b>\" \u2028 日本"


class Page(HTMLParser):
    """Tags with their attributes, and the text in them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.texts.append("")
        if tag not in ("meta", "link", "input"):
            self.open.append(len(self.tags) - 1)

    def handle_endtag(self, tag):
        if self.open:
            self.open.pop()

    def handle_data(self, data):
        for place in self.open:
            self.texts[place] += data

    def by_id(self, name):
        return next(t for (_, attrs), t in zip(self.tags, self.texts, strict=True) if attrs.get("id") == name)

    def code(self, tag):
        return next(
            t for (name, attrs), t in zip(self.tags, self.texts, strict=True) if name == tag and "type" not in attrs
        )


def write(tmp_path, rows, **options):
    return Page(write_page(rows, tmp_path / "page.html", **options).read_text("utf-8"))


def data_of(page):
    return json.loads(page.by_id("report-data"))


def test_everything_asked_for_is_there(tmp_path):
    data = data_of(write(tmp_path, comparison(), published="belharbi_glas", deviations=["4 rounds"], title="Small"))
    assert [axis["key"] for axis in data["axes"]] == ["round", "images", "pixels", "pixel_share", "clicks", "seconds"]
    table = {line[0]: line for line in data["main_table"]["rows"]}
    assert len(table) == len(data["curves"]) == 10
    assert table["label_prop k=40 lambda=0.1"][4] == "81.48 ± 1.03"
    assert table["label_prop k=1 lambda=0.1"][4] == "–"  # the published figure stands beside one setting only
    assert table["full_sup"][-2:] == ["100.0 %", "100.0 %"]
    assert "± " in table["random"][3]
    assert "levels do not compare" in data["area_note"]
    assert {chart["parameter"] for chart in data["ablations"]} == {"k", "lambda"}
    assert {kind for kind, _ in data["orderings"]} <= {"comes out", "does not come out", "undecided"}
    assert len(data["orderings"]) == 15
    assert ["label_prop k=40 lambda=0.1", "random"] in [d[:2] for d in data["differences"]]
    shares = {t["name"]: t["share"] for t in data["times"]}
    assert shares["label_prop k=40 lambda=0.1"] == pytest.approx(1.6 / 65.6)
    main = next(c for c in data["curves"] if c["name"] == "label_prop k=40 lambda=0.1")
    assert main["main"]
    assert main["y"]["pseudo_score"][0] is None
    assert main["y"]["pseudo_score"][1][2] == 3
    assert main["y"]["pseudo_foreground"][0][0] == pytest.approx(0.4)
    assert len(data["published"]["pseudo"]) == 3
    assert data["published"]["pseudo"][0][0] == 0  # the paper counts rounds from 1
    assert data["deviations"] == ["4 rounds"]
    assert data["banner"] is None
    assert any("foreground share" in t["title"] for t in data["rounds"])


def test_the_main_setting_can_be_named(tmp_path):
    data = data_of(write(tmp_path, comparison(), published="belharbi_glas", main={"entropy": "corrected"}, metric="F1"))
    table = {line[0]: line for line in data["main_table"]["rows"]}
    assert table["entropy corrected"][4] == "79.13 ± 0.26"
    assert table["entropy as published"][4] == "–"
    assert data["main_table"]["heads"][3][0] == "AUC of F1, %"


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_curves_as_rows_give_the_published_table(tmp_path, name):
    item = PUBLISHED[name]
    rows = [r for strategy, scores in item.curves.items() for r in run(strategy, [s / 100 for s in scores])]
    data = data_of(write(tmp_path, rows, published=name))
    assert data["area_note"] == ""
    for line in data["main_table"]["rows"]:
        ours, printed = line[3], line[4]
        if printed != "–":
            assert abs(float(ours) - float(printed.split()[0])) <= 0.0101
        assert float(line[5]) == float(line[6])  # after the last round
        assert abs(float(line[7].split()[0]) - float(line[8].split()[0])) <= 0.11  # the printed share is truncated


def test_little_or_nothing_gives_a_page_that_says_so(tmp_path):
    assert data_of(write(tmp_path, []))["banner"] == "No round is finished yet."
    one = data_of(write(tmp_path, [row("random")], published="belharbi_glas"))
    assert "one seed only" in one["banner"]
    assert [a["key"] for a in one["axes"]] == ["round"]
    assert [line[0] for line in one["main_table"]["rows"]][1] == "WSL (not run here)"
    rows = run("a", [0.1, 0.2, 0.3], 0) + run("a", [0.1, math.nan], 1, figures={"x": math.nan})
    gaps = data_of(write(tmp_path, rows))
    assert "a (seed 1)" in gaps["banner"]
    assert gaps["main_table"]["rows"][0][3] == "20.00"
    assert gaps["curves"][0]["y"]["score"][1] == [0.2, 0.0, 1]
    assert gaps["times"] == []
    none = data_of(write(tmp_path, run("a", [math.nan, math.nan])))
    assert none["main_table"]["rows"][0][3] == "–"


def test_short_annotation_times_are_in_seconds_and_long_ones_in_hours(tmp_path):
    def label(seconds):
        rows = [row(number=i, seconds=seconds * i) for i in range(3)]
        axis = data_of(write(tmp_path, rows))["axes"][-1]
        return axis["key"], axis["label"], axis["unit"]

    assert label(10.0) == ("seconds", "annotation time, seconds", 1.0)
    assert label(7200.0) == ("seconds", "annotation time, hours", 3600.0)


def test_hostile_names_stay_data(tmp_path):
    rows = [r for seed in (0, 1) for r in run(HOSTILE, [0.1, 0.2], seed, setting=HOSTILE, step_seconds={HOSTILE: 1.0})]
    page = write(tmp_path, rows, title=HOSTILE, deviations=[HOSTILE], metric=HOSTILE)
    plain = write(tmp_path, run("a", [0.1, 0.2]), title="a")
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    data = data_of(page)
    assert data["curves"][0]["strategy"] == HOSTILE
    assert data["deviations"] == [HOSTILE]
    assert HOSTILE in html.unescape(page.code("title"))


def test_the_page_asks_nothing_of_a_network(tmp_path):
    page = write(tmp_path, comparison(1, 2), published="belharbi_cub")
    for tag, attrs in page.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert (attrs.get(name) or "#").startswith(("#", "data:")), (tag, attrs)
        assert not [name for name in attrs if name.startswith("on") or name == "style"], (tag, attrs)
    style, script = page.code("style"), page.code("script")
    assert not re.search(r"https?:|//\w+\.\w+|url\(|@import|fetch\(|XMLHttpRequest|innerHTML|eval\(", style + script)
    policy = next(attrs["content"] for _, attrs in page.tags if "http-equiv" in attrs)
    assert policy == content_policy(style, script)


def test_the_same_rows_give_the_same_bytes(tmp_path):
    rows = comparison()
    one = write_page(rows, tmp_path / "a.html", published="belharbi_glas").read_bytes()
    assert one == write_page(list(rows), tmp_path / "b.html", published="belharbi_glas").read_bytes()


def test_wrong_requests_are_refused(tmp_path):
    with pytest.raises(RangeError, match="got 'paper'"):
        write_page([row()], tmp_path / "a.html", published="paper")
    with pytest.raises(RangeError, match="got 'everything'"):
        write_page([row()], tmp_path / "a.html", full="everything")
    with pytest.raises(RunError, match="does not exist"):
        write_page([row()], tmp_path / "no" / "a.html")
    assert not (tmp_path / "a.html").exists()


@pytest.mark.parametrize("case", ["all", "one", "none"])
def test_the_script_runs_in_a_browser(tmp_path, case):
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium on PATH")
    rows = {"all": comparison(), "one": [row(HOSTILE)], "none": []}[case]
    out = write_page(rows, tmp_path / "page.html", published="belharbi_glas", deviations=[HOSTILE])
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--disable-component-update", "--virtual-time-budget=2000"]
    done = subprocess.run(
        [chromium, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", out.as_uri()],
        capture_output=True,
        timeout=60,
        check=False,
    )
    page = Page(done.stdout.decode())
    said = done.stderr.decode()[-2000:]
    # The sections' links are made last but one, so they are there only if everything before ran.
    assert sum(tag == "a" for tag, _ in page.tags) >= 5, said
    lines = [attrs.get("class") for tag, attrs in page.tags if tag in ("path", "line")]
    classes = {"all": {"curve", "band", "curve paper", "whisker"}, "one": {"grid"}, "none": set()}[case]
    assert classes <= set(lines), said
    if case == "all":
        svg = [attrs for tag, attrs in page.tags if attrs.get("id") == "score-chart"]
        assert "Dice, % against round: wsl, random" in svg[0]["aria-label"]
        assert "Of 15 published orderings" in page.by_id("orderings-note")
        assert "take 1.7 % to 2.4 % of a round" in page.by_id("time-note")
    if case == "one":
        assert "owned" not in page.code("title")
