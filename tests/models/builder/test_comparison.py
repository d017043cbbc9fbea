"""Results side by side: the table, the picture and the page."""

import struct
from pathlib import Path

import pytest

from saferank.errors import ConfigurationError
from saferank.models.builder import NETS
from saferank.models.builder.comparison import PUBLISHED, read_results
from saferank.models.builder.figure import draw, render_page, render_png


def results(folder: Path, text: str) -> Path:
    path = folder / "results.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_was_published_is_read_and_the_best_is_first() -> None:
    nets = read_results(PUBLISHED)
    assert {net.net for net in nets} <= set(NETS)
    assert [net.accuracy for net in nets] == sorted((net.accuracy for net in nets), reverse=True)
    thin = next(net for net in nets if net.net == "resnet_50_1by2")
    assert (thin.accuracy, thin.cost.multiply_adds) == (0.6679, 1_069_572_096)
    assert all(net.measured and net.source for net in nets)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("net,accuracy,source\n", "the column 'measured' is missing"),
        ("", "the column 'net' is missing"),
        ("net,accuracy,measured,source\n", "no line behind the names"),
        ("net,accuracy,measured,source\nalexnet,57.1,,\n", "csv:2: the accuracy '57.1' is not a"),
        ("net,accuracy,measured,source\nalexnet,nan,,\n", "csv:2: the accuracy 'nan' is not a"),
        ("net,accuracy,measured,source\nalexnet\n", "csv:2: the accuracy None is not a"),
        ("net,accuracy,measured,source\nalexnit,0.5,,\n", "csv:2: .*is 'alexnet' meant"),
    ],
)
def test_wrong_results_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        read_results(results(tmp_path, text))


def test_the_picture_has_a_disc_for_each_net_with_its_parameters_as_area(tmp_path: Path) -> None:
    nets = read_results(
        results(tmp_path, "net,accuracy,measured,source\nvgg_16,0.7,a,b\nsqueezenet,0.6,a,b\n")
    )
    (discs,) = draw(nets).axes[0].collections
    assert discs.get_offsets().tolist() == [
        [pytest.approx(15470.26432), 0.7],
        [pytest.approx(861.339936), 0.6],
    ]
    large, small = discs.get_sizes()
    assert large / small == pytest.approx(138_357_544 / 1_248_424)
    assert struct.unpack(">II", render_png(nets)[16:24]) == (1650, 900)


def test_the_page_needs_no_other_file_and_shows_names_as_text(tmp_path: Path) -> None:
    net = tmp_path / "<b>.prototxt"
    net.write_text('layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 } } }')
    page = render_page(
        read_results(
            results(
                tmp_path,
                f"net,accuracy,measured,source\nalexnet,0.57,top-1,BVLC\n{net},0.1,mine,me & you\n",
            )
        )
    )
    assert "&lt;b&gt;.prototxt" in page
    assert "<b>" not in page
    assert "me &amp; you" in page
    assert 'src="' not in page
    assert '<td class="number">724.41</td>' in page
    assert page.count("<svg") == 1
