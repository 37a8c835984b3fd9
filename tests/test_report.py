"""report.html: self-contained, in both languages, true to the summary."""

from pathlib import Path

import pytest
from lxml import html
from synthetic import write_run_of

from api.evidence import EvidenceError
from api.report import build_rows, describe_difference, format_value, write_report
from api.summary import build_summary, load_runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    for seed in (1, 2):
        write_run_of(folder, "none", seed, 3000.0, 1400.0 + 100 * seed)
        write_run_of(folder, "full", seed, 0.0, 1000.0 + 90 * seed)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return write_report(folder).read_text(encoding="utf-8")


def test_the_page_needs_no_other_file(page: str) -> None:
    tree = html.fromstring(page.encode())
    links = [
        *tree.xpath("//@src"),
        *tree.xpath("//@href"),
        *tree.xpath("//@*[name()='xlink:href']"),
    ]
    assert links
    assert [link[:40] for link in links if not link.startswith(("#", "data:"))] == []
    assert "@import" not in page
    assert "url(http" not in page


def test_every_text_stands_in_both_languages(page: str) -> None:
    tree = html.fromstring(page.encode())
    english = tree.xpath("//*[@class='en']")
    chinese = tree.xpath("//*[@class='zh']")
    assert len(english) == len(chinese) > 50
    assert all(element.text_content().strip() for element in english + chinese)
    assert "主线里程" in page


def test_contours_of_both_responses_and_a_row_per_run_are_drawn(page: str) -> None:
    tree = html.fromstring(page.encode())
    assert page.count("<image ") == 3  # two contours and their scale
    assert len(tree.xpath("//div[@class='pair']/figure")) == 2
    for label in ("none · 1", "none · 2", "full · 1", "full · 2"):
        assert f">{label}<" in page
    for gate in ("G1.W", "G2.E"):
        assert f">{gate}<" in page


def test_what_alerts_say_is_escaped(page: str) -> None:
    assert "warning &lt;at about 07:00&gt;" in page


def test_the_table_has_a_row_per_figure(folder: Path, page: str) -> None:
    summary = build_summary(load_runs(folder))
    rows = build_rows(summary)
    means = [response["mean"] for response in summary["responses"].values()]
    measured = [name for name in means[0] if any(mean[name] is not None for mean in means)]
    assert [row["name"] for row in rows] == measured
    for row in rows:
        assert f"<code>{row['name']}</code>" in page


def test_the_same_runs_give_the_same_page(folder: Path, page: str) -> None:
    assert write_report(folder).read_text(encoding="utf-8") == page


def test_a_single_run_without_mainline_or_gates_has_a_report_too(tmp_path: Path) -> None:
    write_run_of(tmp_path, "full", 3, 0.0, 1000.0, bare=True)
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "<h2>" in page
    assert page.count("<image ") == 0
    # What nobody could see or measure there is left out, not drawn empty.
    assert "Which alert came when" in page  # its run raised some all the same
    assert "<code>jam_km_h</code>" not in page
    assert "Jam on the mainline" not in page


def test_a_missing_series_is_named(tmp_path: Path) -> None:
    write_run_of(tmp_path, "full", 3, 0.0, 1000.0, bare=True)
    (tmp_path / "full" / "seed-3" / "series.json").unlink()
    with pytest.raises(EvidenceError, match=r"seed-3.series\.json: cannot be read"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "signed", "text"),
    [
        ("mean_speed_kmh", 41.27, False, "41.3"),
        ("time_spent_vehh", 1234.5, False, "1,234"),
        ("capacity_drop", 0.1234, False, "12.3 %"),
        ("capacity_drop", -0.012, True, "−1.2 pp"),
        ("onset_s", 7 * 3600 + 300.0, False, "07:05"),
        ("onset_s", -90.0, True, "−1.50"),
        ("jam_km_h", None, False, "–"),
        ("vetoes", 0.0, True, "0"),
        ("jam_km_h", -0.001, True, "0.00"),
    ],
)
def test_values_are_written_in_their_unit(
    name: str, value: float | None, signed: bool, text: str
) -> None:
    assert format_value(name, value, signed=signed) == text


@pytest.mark.parametrize(
    ("name", "low", "high", "verdict"),
    [
        ("jam_km_h", -3.0, -1.0, "better"),
        ("jam_km_h", 1.0, 3.0, "worse"),
        ("mean_speed_kmh", 1.0, 3.0, "better"),
        ("mean_speed_kmh", -1.0, 3.0, "unclear"),
        ("collisions", 0.0, 0.0, "same"),
        ("vehicles", 1.0, 3.0, None),
        ("jam_km_h", None, None, None),
    ],
)
def test_a_verdict_needs_an_interval_that_leaves_out_zero(
    name: str, low: float | None, high: float | None, verdict: str | None
) -> None:
    mean = 0.0 if low is None or high is None else (low + high) / 2
    difference = {"n": 5, "mean": mean, "low": low, "high": high, "relative": None}
    described = describe_difference(name, difference)
    assert described is not None
    assert described["verdict"] == verdict
