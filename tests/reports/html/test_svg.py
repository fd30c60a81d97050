import matplotlib
from matplotlib.figure import Figure

from reports.html.svg import drawing, to_svg


def drawn(text: str = "50 $ of 100 $") -> str:
    with drawing():
        figure = Figure(figsize=(2, 2))
        figure.subplots().plot([0, 1], [1, 0], label=text)
        figure.legend()
        return to_svg(figure, prefix="f7", alt='A "line" \\1 & more.')


def test_an_svg_is_deterministic_and_takes_the_colour_of_the_page():
    svg = drawn()
    assert svg == drawn()
    assert "currentColor" in svg
    assert "#010203" not in svg
    assert 'role="img" aria-label="A &quot;line&quot; \\1 &amp; more."' in svg
    assert all(part.startswith("f7-") for part in (piece.split('"')[0] for piece in svg.split(' id="')[1:]))


def test_settings_of_the_session_come_back_and_do_not_matter():
    before, usual = dict(matplotlib.rcParams), drawn()
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        assert drawn() == usual
    assert dict(matplotlib.rcParams) == before
