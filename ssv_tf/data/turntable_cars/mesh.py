"""Triangle meshes of parametric cars. NumPy only.

The body is a loft: cross-sections (rings, symmetric left-right) at stations from nose to tail.
Wheels are cylinders, mirrors boxes. What is only paint (windows, lights, plates, door lines) is
not modelled here but decided for each pixel in `paint`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from ssv_tf.data.turntable_cars.shapes import Car

_SMOOTH_COSINE = np.cos(np.radians(38.0))
_WHEEL_SEGMENTS = 14
_PROFILE_POINTS = 9


class Part(IntEnum):
    """What a triangle belongs to; `paint` decides colours within it."""

    UNDERSIDE = 0
    FLANK = 1
    CABIN_SIDE = 2
    FRONT = 3
    REAR = 4
    BONNET = 5
    WINDSCREEN = 6
    ROOF = 7
    REAR_WINDOW = 8
    DECK = 9
    BED = 10
    TYRE = 11
    WHEEL = 12
    MIRROR = 13


@dataclass(frozen=True)
class Mesh:
    """An object's triangles, counter-clockwise seen from outside.

    Attributes:
      vertices: [V, 3], metres; origin at the object's centre, axes as object space.
      places: [V, 3], the same points before nose and tail are rounded, y from the ground:
        where `paint` looks up what is drawn there.
      triangles: [T, 3] vertex numbers.
      normals: [T, 3, 3] unit normal at each corner.
      parts: [T] `Part` numbers.
    """

    vertices: np.ndarray
    places: np.ndarray
    triangles: np.ndarray
    normals: np.ndarray
    parts: np.ndarray


@dataclass(frozen=True)
class _Station:
    """A cross-section at `s`: its top height, and the part that begins behind it on top."""

    s: float
    top: float
    part: Part
    scale: float = 1.0
    kind: str = "lower"


def build_mesh(car: Car) -> Mesh:
    """Builds body, wheels and mirrors of `car`."""
    pieces = [_body(car), *_wheels(car), *_mirrors(car)]
    places, triangles, normals, parts = join_pieces(pieces)
    vertices = _rounded(places, car) - [0.0, car.height / 2, 0.0]
    return Mesh(vertices, places, triangles, normals, parts)


def join_pieces(
    pieces: Sequence[Sequence[np.ndarray]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One mesh of pieces (places, triangles, normals, parts): the same four, concatenated."""
    offsets = np.cumsum([0, *(len(piece[0]) for piece in pieces)])
    return (
        np.concatenate([piece[0] for piece in pieces]),
        np.concatenate([piece[1] + offset for piece, offset in zip(pieces, offsets, strict=False)]),
        np.concatenate([piece[2] for piece in pieces]),
        np.concatenate([piece[3] for piece in pieces]),
    )


def _rounded(places, car):
    """Pulls the corners of nose and tail in, as seen from above."""
    x, _, z = places.T
    bulge = np.where(z > 0, car.nose_bulge, car.tail_bulge)
    pull = bulge * (x / (car.width / 2)) ** 2 * np.abs(z / (car.length / 2)) ** 5
    return places - np.stack([0 * x, 0 * x, np.sign(z) * pull], axis=-1)


def _body(car):
    stations = _stations(car)
    rings = np.stack([_ring(car, station) for station in stations])  # [stations, points, 3]
    faces, normals = loft_faces(rings)
    parts = np.stack([_ring_parts(station) for station in stations[:-1]])
    caps = [
        _cap(rings[0], first=0, towards=1.0, part=Part.FRONT),
        _cap(rings[-1], first=rings[0].shape[0] * (len(rings) - 1), towards=-1.0, part=Part.REAR),
    ]
    return (
        rings.reshape(-1, 3),
        np.concatenate([faces, *(cap[0] for cap in caps)]),
        np.concatenate([normals, *(cap[1] for cap in caps)]),
        np.concatenate([np.repeat(parts.ravel(), 2), *(cap[2] for cap in caps)]),
    )


def _stations(car):
    belt_cowl, belt_rear = car.belt_at(car.z(car.cowl)), car.belt_at(car.z(car.window_base))
    deck = max(car.deck, belt_rear)
    roof_middle = 0.5 * (car.roof_start + car.roof_end)
    front = [
        _Station(0.0, 0.90 * car.bonnet, Part.FRONT, 0.86),
        _Station(0.018, 0.985 * car.bonnet, Part.BONNET, 0.95),
        _Station(0.10, car.bonnet + 0.3 * (belt_cowl - car.bonnet), Part.BONNET, 1.0),
        _Station(car.cowl, belt_cowl + 0.03, Part.WINDSCREEN, 1.0),
        _Station(car.roof_start, 0.975 * car.height, Part.ROOF, 1.0, "cabin"),
        _Station(roof_middle, car.height, Part.ROOF, 1.0, "cabin"),
        _Station(car.roof_end, 0.97 * car.height, Part.REAR_WINDOW, 1.0, "cabin"),
    ]
    if car.shape == "pickup":
        rear = [
            _Station(car.window_base, belt_rear + 0.01, Part.DECK, 1.0, "gate"),
            _Station(car.window_base + 0.001, deck, Part.BED, 1.0, "bed"),
            _Station(0.975, deck, Part.DECK, 1.0, "bed"),
            _Station(0.976, deck, Part.DECK, 1.0, "gate"),
            _Station(0.99, deck, Part.REAR, 0.985),
            _Station(1.0, 0.97 * deck, Part.REAR, 0.95),
        ]
    else:
        rear = [
            _Station(car.window_base, deck + 0.01, Part.DECK, 1.0),
            _Station(0.985, deck - 0.02, Part.REAR, 0.965),
            _Station(1.0, 0.90 * deck, Part.REAR, 0.90),
        ]
    return front + rear


def _ring(car, station):
    """Points of a cross-section: bottom centre, up the right side, roof centre, down the left."""
    z = car.z(station.s)
    half = 0.5 * car.width * station.scale
    low = car.clearance + (0.06 if station.s in (0.0, 1.0) else 0.0)
    top = station.top
    belt = min(car.belt_at(z), top - 0.02)
    rise = belt - low
    profile = [
        (0.0, low),
        (0.86 * half, low),
        (0.97 * half, low + 0.18 * rise),
        (1.00 * half, low + 0.50 * rise),
        (0.985 * half, low + 0.78 * rise),
        (0.93 * half, belt),
        *_upper(station.kind, half, belt, top, car),
    ]
    right = np.array(profile)
    left = right[-2::-1] * [-1.0, 1.0]
    ring = np.concatenate([right, left])
    return np.insert(ring, 2, z, axis=1)


def _upper(kind, half, belt, top, car):
    """The last three points of a half section: edge, shoulder and centre of the top."""
    if kind == "cabin":
        roof = half * car.roof_width
        return [(roof, top - 0.07), (0.86 * roof, top - 0.015), (0.0, top)]
    if kind == "gate":  # the top edge of a wall of the bed
        return [(0.87 * half, top), (0.86 * half, top), (0.0, top)]
    if kind == "bed":
        floor = 0.45 * belt + 0.55 * car.clearance
        return [(0.87 * half, top), (0.86 * half, floor), (0.0, floor)]
    return [(0.88 * half, belt + 0.4 * (top - belt)), (0.6 * half, top - 0.01), (0.0, top)]


def _ring_parts(station):
    """`Part` of the quads between this station and the next, around the ring."""
    top = station.part
    flank = top if top in (Part.FRONT, Part.REAR) else Part.FLANK
    cabin = top in (Part.WINDSCREEN, Part.ROOF, Part.REAR_WINDOW)
    edge = Part.CABIN_SIDE if cabin else top
    edge = Part.FLANK if top == Part.BED else edge
    half = [Part.UNDERSIDE, *[flank] * 4, edge, top, top]
    return np.array(half + half[::-1])


def loft_faces(rings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two triangles per quad of the grid of rings, with smoothed corner normals.

    Args:
      rings: [stations, points, 3], each counter-clockwise as seen from before the first, its
        second half the mirror image of the first.

    Returns:
      (triangles [2 * (stations - 1) * (points - 1), 3], normals [the same, 3, 3]).
    """
    count, points = rings.shape[:2]
    number = np.arange(count * points).reshape(count, points)
    a, b = number[:-1, :-1], number[:-1, 1:]
    d, c = number[1:, :-1], number[1:, 1:]
    diagonal, across = rings[1:, 1:] - rings[:-1, :-1], rings[:-1, 1:] - rings[1:, :-1]
    flat = _unit(np.cross(diagonal, across))  # [stations - 1, points - 1, 3]
    padded = np.pad(flat, ((1, 1), (1, 1), (0, 0)), mode="edge")
    na, nb = _smooth(flat, padded, 0, 0), _smooth(flat, padded, 0, 1)
    nd, nc = _smooth(flat, padded, 1, 0), _smooth(flat, padded, 1, 1)
    # The left half is cut along the other diagonal, so that it mirrors the right half.
    faces = np.where(_left_half(points)[..., None], _cut(b, a, d, c, -1), _cut(a, d, c, b, -1))
    normals = np.where(
        _left_half(points)[..., None, None], _cut(nb, na, nd, nc, -2), _cut(na, nd, nc, nb, -2)
    )
    return faces.reshape(-1, 3), normals.reshape(-1, 3, 3)


def _left_half(points):
    """Which quads around the ring lie left: [points - 1, 1]."""
    return (np.arange(points - 1) >= (points - 1) // 2)[:, None]


def _cut(p, q, r, s, axis):
    """Quads as two triangles along p - r: [..., 2, 3] and what the corners carry."""
    return np.stack([np.stack([p, q, r], axis), np.stack([p, r, s], axis)], axis=2)


def _smooth(flat, padded, row, column):
    """Mean normal of the quads that meet at one corner, without those across a sharp edge."""
    total = np.zeros_like(flat)
    rows, columns = flat.shape[:2]
    for i in (row, row + 1):
        for j in (column, column + 1):
            other = padded[i : i + rows, j : j + columns]
            near = np.einsum("ijk,ijk->ij", flat, other) > _SMOOTH_COSINE
            total += other * near[..., None]
    return _unit(total)


def _unit(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _cap(ring, first, towards, part):
    """Closes an end: strips between the right and the left half of the ring."""
    right = np.arange(1, _PROFILE_POINTS - 1)  # point 0, the bottom's centre, is level with 1
    left = len(ring) - 1 - right
    lower = np.stack([right, right + 1, left - 1], -1)
    upper = np.stack([right, left - 1, left], -1)
    faces = np.concatenate([lower, upper]) + first
    if towards < 0:
        faces = faces[:, ::-1]
    normals = np.broadcast_to([0.0, 0.0, towards], (len(faces), 3, 3))
    return faces, normals, np.full(len(faces), part)


def _wheels(car):
    outer = 0.5 * car.width + 0.012
    for s in (car.wheel_front, car.wheel_rear):
        for side in (1.0, -1.0):
            yield _wheel(car, side, outer, car.z(s))


def _wheel(car, side, outer, z):
    angle = np.linspace(0, 2 * np.pi, _WHEEL_SEGMENTS, endpoint=False)
    y, across = car.wheel_radius * (1 + np.sin(angle)), z + car.wheel_radius * np.cos(angle)
    rims = [np.stack([np.full_like(y, side * x), y, across], -1) for x in (outer, outer - 0.22)]
    hub = np.array([[side * outer, car.wheel_radius, z]])
    places = np.concatenate([*rims, hub])
    i = np.arange(_WHEEL_SEGMENTS)
    j = (i + 1) % _WHEEL_SEGMENTS
    disc = np.stack([i, j, np.full_like(i, 2 * _WHEEL_SEGMENTS)], -1)
    tread = [np.stack([i, i + len(i), j + len(i)], -1), np.stack([i, j + len(i), j], -1)]
    faces = np.concatenate([disc, *tread])
    radial = np.stack([0 * angle, np.sin(angle), np.cos(angle)], -1)
    flat = np.broadcast_to([side, 0.0, 0.0], (len(i), 3, 3))
    around = np.broadcast_to(radial[:, None], (len(i), 3, 3))
    parts = np.repeat([Part.WHEEL, Part.TYRE, Part.TYRE], len(i))
    normals = np.concatenate([flat, around, around])
    return places, faces if side < 0 else faces[:, ::-1], normals, parts


_BOX_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
_BOX_FACES = np.array(
    [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
)


def _mirrors(car):
    z = car.z(car.cowl) - 0.28 * car.length * (car.roof_start - car.cowl) - 0.1
    y = car.belt_at(z) + 0.07
    for side in (1.0, -1.0):
        x = side * (0.5 * car.width + 0.04)
        yield _box([x, y, z], [0.11, 0.07, 0.05], Part.MIRROR)


def _box(centre, half_size, part):
    places = _BOX_CORNERS * half_size + centre
    a, b, c, d = _BOX_FACES.T
    faces = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)])
    corners = _BOX_CORNERS[_BOX_FACES].mean(axis=1)
    normals = np.repeat(np.concatenate([corners, corners])[:, None], 3, axis=1)
    return places, faces, normals, np.full(len(faces), part)
