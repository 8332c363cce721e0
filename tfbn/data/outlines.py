"""Signed distances to the ten outlines of the shapes data set.

Each function takes the coordinates `x`, `y` (float32 arrays of one shape, in units
of the outline's size, centred) and returns an array of that shape: about the distance
to the outline, negative inside. Scaled to pixels, it anti-aliases the image.
"""

import numpy as np


def disc(x, y):
    """A filled circle."""
    return np.hypot(x, y) - 0.85


def ring(x, y):
    """A circle's line."""
    return np.abs(np.hypot(x, y) - 0.75) - 0.2


def square(x, y):
    """A filled square."""
    return _box(x, y, 0.75, 0.75)


def frame(x, y):
    """A square's line."""
    return np.abs(_box(x, y, 0.7, 0.7)) - 0.19


def triangle(x, y):
    """A filled equilateral triangle."""
    sides = [
        np.cos(angle) * x + np.sin(angle) * y
        for angle in np.float32(2 * np.pi / 3) * np.arange(3, dtype=np.float32)
    ]
    return np.maximum.reduce(sides) - 0.52


def cross(x, y):
    """Two long bars at a right angle."""
    return np.minimum(_box(x, y, 1.0, 0.26), _box(x, y, 0.26, 1.0))


def star(x, y, *, points=5, outer=1.1, inner=0.45):
    """A star: every edge runs from a tip at `outer` to a dent at `inner`."""
    sector = np.float32(np.pi / points)
    # All edges are folded onto one, between the angles 0 (tip) and `sector` (dent).
    angle = np.abs((np.arctan2(y, x) + sector) % (2 * sector) - sector)
    radius = np.hypot(x, y)
    edge = np.array([inner * np.cos(sector) - outer, inner * np.sin(sector)])
    normal = np.array([edge[1], -edge[0]]) / np.hypot(*edge)
    normal = normal.astype(np.float32)
    along = radius * np.cos(angle) - np.float32(outer)
    return normal[0] * along + normal[1] * radius * np.sin(angle)


def crescent(x, y):
    """A disc with a disc cut out of its side."""
    return np.maximum(np.hypot(x, y) - 0.95, 0.75 - np.hypot(x - 0.5, y))


def bars(x, y):
    """Three parallel bars."""
    nearest = np.minimum(np.abs(y), np.abs(np.abs(y) - 0.7))
    return np.maximum(np.abs(x) - 0.9, nearest - 0.18)


def corner(x, y):
    """Two bars that meet at their ends: the letter L."""
    return np.minimum(_box(x + 0.5, y, 0.28, 0.85), _box(x, y + 0.5, 0.85, 0.28))


# In the order of the labels.
OUTLINES = (
    disc,
    ring,
    square,
    frame,
    triangle,
    cross,
    star,
    crescent,
    bars,
    corner,
)


def _box(x, y, half_width, half_height):
    """A filled rectangle."""
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)
