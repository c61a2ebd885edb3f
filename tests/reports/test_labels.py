from __future__ import annotations

import numpy as np

from reports.labels import CHARACTER_WIDTH, LINE_HEIGHT, Box, along, place_labels

SIZE = (400.0, 200.0)


def _boxes(texts: list[str], anchors: np.ndarray, points: np.ndarray, taken: tuple[Box, ...] = ()) -> list[Box]:
    centres = anchors + np.array(place_labels(texts, anchors, points, SIZE, taken))
    halves = [len(text) * CHARACTER_WIDTH / 2 for text in texts]
    return [
        Box(x - half, y - LINE_HEIGHT / 2, x + half, y + LINE_HEIGHT / 2)
        for (x, y), half in zip(centres, halves, strict=True)
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


def test_a_line_is_covered_by_points_without_gaps() -> None:
    points = along(np.array([[0.0, 0.0], [0.0, 50.0], [80.0, 50.0]]))
    assert {(0.0, 0.0), (0.0, 50.0), (80.0, 50.0)} <= set(map(tuple, points))
    assert np.abs(np.diff(points[3:], axis=0)).max() <= 5.0
    assert len(along(np.empty((0, 2)))) == 0
