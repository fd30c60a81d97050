import csv
import io
import json
import re
import shutil
from html import unescape
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest

from dlrm_core.schema.errors import KitError
from reports.page import BESIDE, build_report
from tests.reports.conftest import ENVIRONMENT, ROWS, Runs

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Checker(HTMLParser):
    """Nesting, ids, references and figures of a page."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.references, self.figures, self.headings = [], [], [], [], []
        self.headers_without_scope = 0

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.look(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.look(tag, dict(attrs))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def look(self, tag, attributes):
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.references += [v for k, v in attributes.items() if k in ("src", "href", "xlink:href", "action", "data")]
        self.headers_without_scope += tag == "th" and "scope" not in attributes
        if re.fullmatch(r"h\d", tag):
            self.headings.append(int(tag[1]))
        if tag == "figure":
            self.figures.append({"alt": "", "caption": False, "table": False})
        elif "figure" in self.open:
            figure = self.figures[-1]
            figure["alt"] = attributes["aria-label"] if attributes.get("role") == "img" else figure["alt"]
            figure["caption"] |= tag == "figcaption"
            figure["table"] |= tag == "table" and "details" in self.open


def page_of(runs: Runs, **options) -> str:
    return build_report(runs.root, runs.root.parent / "out" / "page.html", **options).read_text()


def text_of(page: str) -> str:
    return re.sub(
        r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<svg.*?</svg>|<style.*?</style>", "", page, flags=re.S))
    )


def verdict_line(page: str) -> str:
    return text_of(re.search(r'<p class="verdict-line">.*?</p>', page, re.S).group()).strip().replace(" ,", ",")


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """Runs with everything that a page can show; not to be changed."""
    runs = Runs(tmp_path_factory.mktemp("full") / "runs").usual()
    runs.teacher()
    runs.train(2)
    runs.train(3)
    runs.train(4, status="failed", reason="loss is nan at step 40; lower the learning rate", metrics=())
    runs.train(5, status="running", metrics=())
    runs.train(6, metrics=())
    runs.write("broken", "run.json", "{nonsense")
    return runs


@pytest.fixture(scope="module")
def full_page(full):
    return page_of(full)


@pytest.fixture(scope="module", params=["page.html", *BESIDE])
def each_page(request, full, full_page):
    """Every page of the report in turn."""
    return full.root.parent / "out" / request.param


def test_every_page_is_well_formed_and_asks_the_network_for_nothing(each_page):
    page, checker = each_page.read_text(), Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    assert len(set(checker.ids)) == len(checker.ids)
    inside = {reference[1:] for reference in checker.references if reference.startswith("#")}
    assert inside <= set(checker.ids)
    others = {reference for reference in checker.references if not reference.startswith(("#", "data:"))}
    assert others == {"page.html", *BESIDE}, "only pages of the same folder"
    assert not re.search(r"@import|<script|<link|url\((?!#)", page)
    assert checker.headers_without_scope == 0
    assert checker.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(checker.headings, checker.headings[1:], strict=False))
    assert '<html lang="en">' in page
    assert all(figure["alt"].endswith(".") and figure["caption"] and figure["table"] for figure in checker.figures)


def test_every_page_says_what_it_was_made_from(each_page, full):
    foot = text_of(each_page.read_text().partition("<footer>")[2])
    for word in (
        ENVIRONMENT.git_commit,
        full.digest[:12],
        "a processor, 2 cores, no GPU",
        "make report",
        "seeds 1, 2, 3, 4, 5, 6",
    ):
        assert word in foot, word


def test_every_table_can_be_saved_as_csv_and_json(each_page):
    page = each_page.read_text()
    links = re.findall(r'<a download="[^"]+\.(csv|json)" href="data:[^,]+,([^"]*)"', page)
    assert [kind for kind, _ in links] == ["csv", "json"] * page.count("<table")
    for (_, as_csv), (_, as_json) in zip(links[::2], links[1::2], strict=True):
        head, *rows = csv.reader(io.StringIO(unquote(as_csv)))
        assert json.loads(unquote(as_json)) == {"columns": head, "data": rows}


def test_saved_numbers_are_those_of_the_table(full_page):
    found = {
        unquote(text) for text in re.findall(r'<a download="over-the-seeds.csv" href="data:[^,]+,([^"]*)"', full_page)
    }
    assert len(found) == 1
    head, first, *_ = csv.reader(io.StringIO(found.pop()))
    assert head[:4] == ["model", "score", "seeds n", "mean"]
    assert first[1:3] == ["AUC", "3"]
    assert f"{float(first[3]):.5f}" in full_page


def test_a_page_beside_cannot_be_overwritten_by_the_report(runs):
    runs.usual()
    with pytest.raises(KitError, match=r"errata.html: is the name of a page that is written beside this one"):
        build_report(runs.root, runs.root / "errata.html")


def test_pages_of_notebooks_beside_it_are_linked(runs):
    out = runs.usual().root.parent / "site"
    out.mkdir()
    (out / "04_train.html").write_text("a notebook")
    assert '<a href="04_train.html">04_train</a>' in build_report(runs.root, out / "index.html").read_text()


def test_every_figure_has_an_alternative_text_a_caption_and_its_numbers(full_page):
    checker = Checker()
    checker.feed(full_page)
    assert len(checker.figures) == 4


def test_the_same_records_give_the_same_bytes(full, full_page, tmp_path):
    first = full_page
    shutil.copytree(full.root, tmp_path / "elsewhere")
    again = build_report(tmp_path / "elsewhere", tmp_path / "again" / "page.html").read_text()
    assert first == again
    for file in BESIDE:
        assert (tmp_path / "again" / file).read_bytes() == (full.root.parent / "out" / file).read_bytes()
    assert str(tmp_path) not in again
    assert str(full.root.parent) not in first


def test_numbers_of_the_records_stand_in_the_page(runs):
    best = runs.teacher()
    runs.dataset()
    records = [runs.train(1), runs.baseline("logistic", runs.noisy(1.5, 99))]
    page = text_of(page_of(runs))
    for record in records:
        assert f"{record.metric('auc', 'test').value:.5f}" in page
        assert f"{record.metric('log_loss', 'test').value:.5f}" in page
    way = (records[0].metric("auc", "test").value - 0.5) / (best.best_auc - 0.5)
    assert f"{100 * way:.1f} %" in page
    assert "9,000" in page
    assert runs.digest in page


@pytest.mark.parametrize(
    ("noises", "expected"),
    [
        ((0.2, 3.0), "clearly better than logistic"),
        ((3.0, 0.2), "worse than logistic"),
        ((1.0, 1.0), "tie with logistic"),
    ],
)
def test_the_verdict_follows_the_data(runs, noises, expected):
    runs.dataset()
    runs.train(1, noise=noises[0])
    runs.baseline("logistic", runs.noisy(noises[1], 99 if noises[0] != noises[1] else 2))
    assert re.search(expected.replace(" ", r"\s+"), verdict_line(page_of(runs)))


def test_a_log_loss_that_says_otherwise_is_named(runs):
    runs.dataset()
    runs.train(1, logit_B=(runs.noisy(0.2, 1) + 6).astype(np.float32))
    runs.baseline("constant", np.full(ROWS, -1.0, np.float32))
    assert "constant (by log loss: worse)" in verdict_line(page_of(runs))


def test_the_optimum_is_shown_only_beside_its_own_test_file(runs):
    runs.usual().teacher("day_9")
    assert "optimum" not in text_of(page_of(runs))
    best = runs.teacher("day_1")
    page = text_of(page_of(runs))
    assert f"{best.best_auc:.5f}" in page
    assert "way to the optimum" in page


def test_runs_without_a_result_are_shown_with_the_reason(full_page):
    page = text_of(full_page)
    failed = page[page.rindex("Failed or killed runs") :]
    assert "loss is nan at step 40; lower the learning rate" in failed
    assert "did not finish" in failed
    assert "not scored" in failed
    assert "mean test AUC" in page
    assert "over 3 seeds" in page  # 4, 5 and 6 do not count


def test_a_page_of_failed_runs_only_is_still_a_page(runs):
    runs.train(1, status="failed", reason="out of memory", metrics=())
    page = text_of(page_of(runs))
    assert "No finished and scored DLRM run" in page
    assert "out of memory" in page


def test_damaged_files_are_named(full_page):
    page = text_of(full_page)
    assert "broken/run.json" in page[page.rindex("Could not be read") :]


def test_a_mean_over_seeds_needs_three_of_them_for_an_interval(runs):
    runs.usual()
    assert "One seed each" in text_of(page_of(runs))
    runs.train(2)
    assert "too few seeds" in text_of(page_of(runs))
    runs.train(3)
    page = text_of(page_of(runs))
    assert "too few seeds" not in page
    assert "t-interval, n = 3:" in page


def test_each_data_set_has_its_section(runs):
    runs.usual()
    other = Runs(runs.root, data_seed=1)
    other.dataset("data-2")
    other.train(1, folder="other")
    page = page_of(runs)
    assert page.count("<h2") == 5
    assert runs.digest[:12] in page
    assert other.digest[:12] in page


def test_what_the_records_say_is_escaped(runs):
    runs.usual()
    runs.baseline("trees", runs.noisy(1.0, 4), repeat="dlrm baselines --out '<script>alert(1)</script>'")
    page = page_of(runs)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_how_to_repeat_it(runs):
    runs.usual()
    page = text_of(page_of(runs))
    assert "make reproduce PRESET=tiny TRAIN=day_0 TEST=day_1 SET=seed=1" in page
    order = [page.index(command) for command in ("dlrm train", "dlrm evaluate", "dlrm baselines", "dlrm report")]
    assert order == sorted(order)
    runs.record("raw", "split", "raw", config={"files": ["mine.tsv.gz"]}, repeat="make reproduce PRESET=...")
    assert "make it so" in page_of(runs, repeat="make it so")


def test_files_that_the_kit_split_are_repeated_without_test_files(runs):
    runs.usual()
    config = {"train": [], "validation": [], "test": [], "whole": ["mine.tsv.gz", "more.tsv"]}
    runs.record(
        "own", "prepare", "own", config=config, dataset_digest=runs.train(1).dataset_digest, repeat="dlrm prepare ..."
    )
    assert "make reproduce PRESET=tiny TRAIN='mine.tsv.gz more.tsv' SET=seed=1" in unescape(text_of(page_of(runs)))


def test_a_table_of_ones_own_is_not_made_again_by_make(runs):
    runs.usual()
    digest = runs.train(1).dataset_digest
    runs.record(
        "own", "prepare", "own", config={"table": {}}, dataset_digest=digest, repeat="dlrm prepare --spec SPEC a.csv"
    )
    page = text_of(page_of(runs))
    assert "make reproduce PRESET" not in page
    assert "dlrm prepare --spec SPEC a.csv" in page


def test_gpus_are_named_where_a_record_names_them(runs):
    runs.usual()
    assert "Not run on a GPU" in page_of(runs)
    record = runs.train(2)
    runs.train(2, environment=record.environment.model_copy(update={"gpus": ("NVIDIA H200",)}))
    page = page_of(runs)
    assert "Not run on a GPU" not in page
    assert "1 of the 4 records name a GPU that PyTorch saw: NVIDIA H200" in page


def test_no_model_at_all_is_an_error_and_leaves_the_old_page(runs, tmp_path):
    runs.record("data", "prepare", "data")
    old = tmp_path / "page.html"
    old.write_text("old")
    with pytest.raises(KitError):
        build_report(runs.root, old)
    assert old.read_text() == "old"
