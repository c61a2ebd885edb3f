from __future__ import annotations

import numpy as np

from reports.figures.labels import LINE_HEIGHT, SYMBOL_RADIUS, Box, along, place_labels, rims, width_of

SIZE = (400.0, 200.0)


def _boxes(
    texts: list[str], anchors: np.ndarray, points: np.ndarray, taken: tuple[Box, ...] = (), bold: str = ""
) -> list[Box]:
    widths = [width_of(text, bold=text == bold) for text in texts]
    centres = anchors + np.array(place_labels(widths, anchors, points, SIZE, taken))
    return [
        Box(x - width / 2, y - LINE_HEIGHT / 2, x + width / 2, y + LINE_HEIGHT / 2)
        for (x, y), width in zip(centres, widths, strict=True)
    ]


def test_names_of_close_points_do_not_cover_each_other() -> None:
    anchors = np.array([[200.0, 100.0], [205.0, 103.0], [195.0, 98.0]])
    boxes = _boxes(["fine-tuning", "NAD (paper)", "NAD (code)"], anchors, anchors)
    assert all(a.overlap(b) == 0 for i, a in enumerate(boxes) for b in boxes[:i])


def test_a_name_stays_inside_the_plot_off_points_and_off_what_is_written() -> None:
    anchors = np.array([[390.0, 10.0]])
    points = np.array([[340.0, 12.0], [390.0, 10.0], [330.0, 30.0]])
    taken = Box(300, 40, 400, 60)
    (box,) = _boxes(["no defence"], anchors, points, (taken,))
    assert box.left >= 0
    assert box.right <= SIZE[0]
    assert box.overlap(taken) == 0
    assert box.holds(points) == 0


ABOVE_AND_BELOW = np.vstack([along(np.array([[200.0, end], [200.0, end + 70.0]])) for end in (0.0, 110.0)])
"""Points that leave a name at (200, 90) only the places to its left and right."""


def test_a_name_keeps_off_the_whole_symbol_of_another_mark() -> None:
    anchor, symbol = np.array([[200.0, 90.0]]), np.array([[209.0, 115.0]])
    in_better_places = np.array([[260.0, 90.0], [140.0, 90.0], [260.0, 70.0], [140.0, 70.0]])
    points = np.vstack((anchor, ABOVE_AND_BELOW, in_better_places, symbol, rims(symbol)))
    (box,) = _boxes(["recommended"], anchor, points, bold="recommended")
    x, y = symbol[0]
    assert max(box.left - x, x - box.right, box.top - y, y - box.bottom) >= SYMBOL_RADIUS


def test_a_bold_name_is_wider_and_turns_away_earlier() -> None:
    anchor = np.array([[200.0, 90.0]])
    just_beyond = np.array([[200.0 + 16 + width_of("recommended") + 8, 90.0]])
    points = np.vstack((anchor, ABOVE_AND_BELOW, just_beyond))
    (plain,) = _boxes(["recommended"], anchor, points)
    (bold,) = _boxes(["recommended"], anchor, points, bold="recommended")
    assert plain.left > 200
    assert bold.right < 200


def test_a_line_is_covered_by_points_without_gaps() -> None:
    points = along(np.array([[0.0, 0.0], [0.0, 50.0], [80.0, 50.0]]))
    assert {(0.0, 0.0), (0.0, 50.0), (80.0, 50.0)} <= set(map(tuple, points))
    assert np.abs(np.diff(points[3:], axis=0)).max() <= 5.0
    assert len(along(np.empty((0, 2)))) == 0
