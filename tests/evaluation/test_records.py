from pathlib import Path

import pytest

from dubcli.evaluation.records import NO_FRAME, Evaluation, Quantity, Row, mean_rows

SSIM = Quantity("SSIM", "face", "", "higher", 1.0, remark="remark")
CPBD = Quantity("CPBD", "face", "", "higher")


def evaluation(*rows: Row) -> Evaluation:
    return Evaluation(Path("a.mp4"), None, 3, rows, ())


def test_the_real_of_a_distance_is_what_equal_videos_give() -> None:
    assert SSIM.row(0.5, note="n") == Row("SSIM", "face", 0.5, 1.0, "", "higher", "n; remark")
    assert CPBD.row(0.5, 0.6) == Row("CPBD", "face", 0.5, 0.6, "", "higher", None)


def test_no_number_is_no_value() -> None:
    assert SSIM.row(float("nan")) == Row("SSIM", "face", None, None, "", "higher", NO_FRAME)
    assert SSIM.row(float("nan"), why_not="why").note == "why"
    assert CPBD.row(0.5, float("nan")).real is None


def test_mean_is_over_the_videos_that_have_the_row() -> None:
    means = mean_rows(
        [
            evaluation(SSIM.row(0.5), CPBD.row(0.2, 0.4)),
            evaluation(SSIM.row(0.7), CPBD.missing("no edge")),
            evaluation(SSIM.row(0.9), CPBD.missing("no edge")),
        ]
    )
    assert means[0] == Row("SSIM", "face", pytest.approx(0.7), 1.0, "", "higher", None)
    assert means[1] == Row("CPBD", "face", 0.2, 0.4, "", "higher", "of 1 of 3 videos")


def test_a_row_that_no_video_has_keeps_its_reason() -> None:
    rows = [evaluation(CPBD.missing("no edge"))] * 2
    assert mean_rows(rows) == (CPBD.missing("no edge"),)


def test_mean_of_nothing_or_of_unequal_tables_is_refused() -> None:
    with pytest.raises(ValueError, match="no evaluation"):
        mean_rows([])
    with pytest.raises(ValueError, match="stands beside other rows"):
        mean_rows([evaluation(SSIM.row(1)), evaluation(CPBD.row(1))])


def test_a_row_is_found_by_its_name() -> None:
    table = evaluation(SSIM.row(0.5), CPBD.row(0.2))
    assert table.row("CPBD").value == 0.2
    with pytest.raises(KeyError, match="no row 'SSIM' of region 'frame'"):
        table.row("SSIM", "frame")
