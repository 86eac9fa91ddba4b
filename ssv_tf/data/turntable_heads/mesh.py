"""Triangle meshes of parametric heads. NumPy only.

Skull and jaw, neck, nose, ears and hair are lofts: rings around the vertical axis, from the top
down, each from the back by way of the face to the back. An eye is the front of a ball between two
lids. Mouth and brows are only paint.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike

from ssv_tf.data.turntable_cars.mesh import Mesh, join_pieces, loft_faces
from ssv_tf.data.turntable_heads.shapes import Head

_RING_HALF = 20  # points from the face to the back
_SQUARENESS = 2.6  # of the superellipse that a horizontal section is; 2 is an ellipse
_EYE_CURVE = 4.0  # radius of what is seen of an eye: flatter than the turn of the gaze
_EYE_OUTWARD_DEG = 14.0
_LID_DEG = 11.0  # skin of the lids around an eye
_LASH_DEG = 3.5
_EYE_BULGE = 0.65  # of the eye out of its socket
_SOCKET_DEPTH = 1.1
_EAR_TURN_RAD = 0.6
_EARS_COVERED_BELOW = -3.0  # height of the hair before them
_HANGING_FROM = -2.0  # below this height hair hangs straight down
_TUCKED = 1.4  # how deep edges of hair and lids end under the skin
_MIRROR = np.array([-1.0, 1.0, 1.0])
_NECK_END = -60.0  # out of every picture

# Height, half width, front and back of the head's sections, of a head of nominal size.
_NOMINAL_HEIGHT, _NOMINAL_WIDTH, _NOMINAL_DEPTH = 23.0, 15.2, 19.4
_SECTIONS = np.array(
    [
        (11.5, 0.1, -0.9, -1.1),
        (11.2, 2.4, 1.9, -3.9),
        (10.2, 4.6, 4.7, -6.6),
        (8.2, 6.4, 7.2, -8.8),
        (5.5, 7.4, 8.7, -10.0),
        (3.2, 7.6, 9.2, -10.2),
        (1.0, 7.5, 8.7, -9.9),
        (-1.5, 7.2, 8.7, -8.9),
        (-4.5, 6.7, 8.8, -7.0),
        (-7.5, 5.8, 8.8, -5.2),
        (-9.8, 4.4, 8.7, -2.6),
        (-11.1, 2.8, 8.3, 1.4),
        (-11.5, 0.1, 5.9, 5.0),
    ]
)


class Part(IntEnum):
    """What a triangle belongs to; `paint` decides colours within it."""

    SKIN = 0
    NECK = 1
    NOSE = 2
    EAR = 3
    LID = 4
    LASH = 5
    EYE = 6
    HAIR = 7


Piece = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # points, triangles, normals, parts


def build_mesh(head: Head, gaze_rotation: np.ndarray) -> Mesh:
    """Builds a head.

    Args:
      head: its proportions.
      gaze_rotation: [3, 3], object space to the space of the eyes, whose +z is the gaze. It turns
        the `places` on the eyes and nothing else: gaze moves paint and no triangle.
    """
    surface = Surface(head)
    eye = _eye(head, surface)
    pieces = [_skull(surface), _neck(head), _nose(head, surface), eye, _mirrored(eye)]
    if head.hair.thickness > 0:
        pieces.append(_hair(head, surface))
    if head.hair.before_ear > _EARS_COVERED_BELOW:
        ear = _ear(head, surface)
        pieces += [ear, _mirrored(ear)]
    vertices, triangles, normals, parts = join_pieces(pieces)
    places = vertices.copy()
    seen = np.unique(triangles[parts == Part.EYE])
    centre = _pupil(head, surface) - [0.0, 0.0, head.eye_radius]
    centres = centre * np.where(vertices[seen, :1] < 0, _MIRROR, 1.0)
    places[seen] = (vertices[seen] - centres) @ gaze_rotation.T
    return Mesh(vertices, places, triangles, normals, parts)


class Surface:
    """The skin of skull and jaw: a place for each height and direction around the vertical."""

    def __init__(self, head: Head) -> None:
        self.head = head
        heights, widths, fronts, backs = _smoothed(_SECTIONS).T
        self._heights = heights[::-1] * head.height / _NOMINAL_HEIGHT
        width, depth = head.width / _NOMINAL_WIDTH, head.depth / _NOMINAL_DEPTH
        jaw = np.interp(heights[::-1], [-12.0, -5.0, 2.0], [head.jaw, head.jaw, 1.0])
        chin = np.interp(heights[::-1], [-12.0, -9.0, -6.0], [head.chin, head.chin, 0.0])
        self._widths = widths[::-1] * width * jaw
        self._fronts = fronts[::-1] * depth + chin
        self._backs = backs[::-1] * depth

    @property
    def heights(self) -> np.ndarray:
        """Heights of the sections from the top down, centimetres."""
        return self._heights[::-1]

    def half_width(self, y: np.ndarray | float) -> np.ndarray:
        """Of the section at height `y`."""
        return np.interp(y, self._heights, self._widths)

    def at(self, y: ArrayLike, turn: ArrayLike) -> np.ndarray:
        """Points [..., 3] at height `y`, `turn` radians around: 0 is the face, pi the back."""
        y, turn = np.broadcast_arrays(np.asarray(y, float), turn)
        front, back = (np.interp(y, self._heights, v) for v in (self._fronts, self._backs))
        power = 2.0 / _SQUARENESS
        sine, cosine = np.sin(turn), np.cos(turn)
        x = self.half_width(y) * np.sign(sine) * np.abs(sine) ** power
        z = 0.5 * (front + back) + 0.5 * (front - back) * np.sign(cosine) * np.abs(cosine) ** power
        return np.stack([x, y, z - np.where(cosine > 0, self._socket(x, y), 0.0)], axis=-1)

    def face(self, x: float, y: float) -> np.ndarray:
        """The point [3] of the face at (x, y)."""
        share = min(abs(x) / float(self.half_width(y)), 1.0)
        return self.at(y, np.sign(x) * np.arcsin(share ** (_SQUARENESS / 2)))

    def _socket(self, x, y):
        head = self.head
        across, up = (np.abs(x) - head.eye_x) / 2.7, (y - head.eye_y) / 1.9
        return _SOCKET_DEPTH * np.exp(-(across**4) - up**4)


def _smoothed(table, steps=2):
    """The rows of a table and `steps` - 1 between each two, along a Catmull-Rom spline."""
    before = np.concatenate([table[:1], table[:-2]])
    here, there = table[:-1], table[1:]
    after = np.concatenate([table[2:], table[-1:]])
    t = (np.arange(steps) / steps)[None, :, None]
    before, here, there, after = (rows[:, None] for rows in (before, here, there, after))
    linear, square = there - before, 2 * before - 5 * here + 4 * there - after
    cubic = 3 * (here - there) + after - before
    curve = here + 0.5 * (t * linear + t**2 * square + t**3 * cubic)
    return np.concatenate([curve.reshape(-1, table.shape[1]), table[-1:]])


def _around():
    """Directions of a ring, from the back by way of the left and the face to the back again."""
    half = np.linspace(0, np.pi, _RING_HALF + 1)
    return np.concatenate([-half[:0:-1], half])


def _loft(rings: np.ndarray, parts: ArrayLike) -> Piece:
    """A piece of rings [stations, points, 3]; parts: one, or one of each quad."""
    triangles, normals = loft_faces(rings)
    quads = (rings.shape[0] - 1, rings.shape[1] - 1)
    return (
        rings.reshape(-1, 3),
        triangles,
        normals,
        np.repeat(np.broadcast_to(parts, quads).ravel(), 2),
    )


def _mirrored(piece: Piece) -> Piece:
    points, triangles, normals, parts = piece
    return points * _MIRROR, triangles[:, ::-1], normals[:, ::-1] * _MIRROR, parts


def _skull(surface):
    return _loft(surface.at(surface.heights[:, None], _around()), Part.SKIN)


def _neck(head):
    y, turn = np.linspace(-0.1 * head.height, _NECK_END, 5)[:, None], _around()
    x, z = head.neck * np.sin(turn), 1.05 * head.neck * np.cos(turn) - 2.2
    return _loft(np.stack(np.broadcast_arrays(x, y, z), axis=-1), Part.NECK)


# Height (0 = level with the eyes, 1 = tip), width and reach of the nose's sections, as shares.
_NOSE = np.array(
    [
        (-0.15, 0.32, 0.02),
        (0.10, 0.34, 0.22),
        (0.50, 0.52, 0.58),
        (0.80, 0.82, 0.90),
        (0.94, 1.00, 1.00),
        (1.06, 1.00, 0.80),
        (1.14, 0.70, 0.15),
    ]
)
# A nose's section: share of its width and of its reach, from the back round.
_NOSE_RING = np.array(
    [
        (0, -0.6),
        (-1, -0.6),
        (-0.75, 0.35),
        (-0.35, 0.9),
        (0, 1),
        (0.35, 0.9),
        (0.75, 0.35),
        (1, -0.6),
        (0, -0.6),
    ]
)


def _nose(head, surface):
    rings = []
    for down, width, reach in _NOSE:
        y = head.eye_y - down * head.nose_length
        x = _NOSE_RING[:, 0] * width * head.nose_width
        z = surface.face(0.0, y)[2] + _NOSE_RING[:, 1] * reach * head.nose_reach
        rings.append(np.stack([x, np.full_like(x, y), z], axis=-1))
    return _loft(np.stack(rings), Part.NOSE)


def _ear(head, surface):
    """The ear at +x: a flat ellipsoid, turned a little outwards."""
    y = head.eye_y - 1.3
    centre = [float(surface.half_width(y)) + 0.1, y, -1.3]
    radii = np.array([0.7, 3.0, 1.9]) * head.ear_size
    down, turn = np.linspace(0.5 * np.pi, -0.5 * np.pi, 9)[:, None], _around()[::2]
    level = np.cos(down)
    directions = np.stack(
        np.broadcast_arrays(level * np.sin(turn), np.sin(down), level * np.cos(turn)), axis=-1
    )
    cosine, sine = np.cos(_EAR_TURN_RAD), np.sin(_EAR_TURN_RAD)
    outwards = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    points, triangles, _, parts = _loft(directions * radii, Part.EAR)
    normals = _unit(points / radii**2)[triangles]
    return points @ outwards + centre, triangles, normals @ outwards, parts


def _pupil(head: Head, surface: Surface) -> np.ndarray:
    """The pupil of the eye at +x while it looks ahead."""
    return surface.face(head.eye_x, head.eye_y) + np.array([0.0, 0.0, _EYE_BULGE])


def _eye(head, surface):
    """The eye at +x and its lids: a patch of a ball, its border tucked under the skin."""
    half = np.degrees(head.eye_width / _EYE_CURVE)
    wide = half + np.array([_LID_DEG, _LID_DEG])
    side = np.concatenate([-wide, np.linspace(-half, half, 15), wide])  # [columns]
    share = np.clip(1 - (side / half) ** 2, 0, 1) ** 0.6
    upper = np.degrees(head.upper_lid / _EYE_CURVE) * share
    lower = -np.degrees(head.lower_lid / _EYE_CURVE) * share
    inside = [upper + t * (lower - upper) for t in np.linspace(0, 1, 6)]
    high, low = upper + _LID_DEG, lower - _LID_DEG
    up = np.stack([high, high, upper + _LASH_DEG * share, *inside, low, low])  # [rows, columns]
    strips = [Part.LID, Part.LID, Part.LASH, *[Part.EYE] * 5, Part.LID, Part.LID]
    up, turn = np.radians(up), np.radians(side + _EYE_OUTWARD_DEG)
    directions = np.stack(
        [np.cos(up) * np.sin(turn), np.sin(up), np.cos(up) * np.cos(turn)], axis=-1
    )
    reach = np.full(up.shape, _EYE_CURVE)
    reach[[0, -1]] = reach[:, [0, -1]] = _EYE_CURVE - _TUCKED
    points, triangles, _, parts = _loft(directions * reach[..., None], np.array(strips)[:, None])
    outward = np.radians(_EYE_OUTWARD_DEG)
    centre = _pupil(head, surface) - _EYE_CURVE * np.array([np.sin(outward), 0, np.cos(outward)])
    return points + centre, triangles, directions.reshape(-1, 3)[triangles], parts


def _hair(head, surface):
    """A cap: the skin lifted, down to the hair's edge, where it ends under the skin."""
    hair, turn = head.hair, _around()
    around = np.radians([0.0, 32.0, 58.0, 76.0, 100.0, 140.0, 180.0])
    edges = [hair.front, hair.front - 0.3, hair.temple, hair.before_ear, hair.behind_ear]
    edge = np.interp(np.abs(turn), around, [*edges, hair.nape, hair.nape])
    edge = edge * head.height / _NOMINAL_HEIGHT
    top = surface.heights[0]
    share = np.concatenate([np.linspace(0, 1, 14) ** 1.5, [1.0]])[:, None]
    y = top + share * (edge - top)
    skin = surface.at(np.maximum(y, _HANGING_FROM), turn)
    centre = np.stack(np.broadcast_arrays(0.0, np.minimum(skin[..., 1], 2.5), -0.8), axis=-1)
    lift = hair.thickness * (1 - 0.65 * share**6)
    lift[-1] = -_TUCKED
    points = skin + lift[..., None] * _unit(skin - centre)
    points[..., 1] += y - np.maximum(y, _HANGING_FROM)
    return _loft(points, Part.HAIR)


def _unit(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
