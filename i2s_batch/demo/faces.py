"""Draws faces: 24 standard-normal numbers in, an image out; smooth in every number.

`render` draws what the demo generator was fitted to, and the demo's images. An image spans [-1, 1] in x and y (y
downwards); `u`, `v` are the same after the head's own shift and tilt.
"""

from __future__ import annotations

import numpy as np

from i2s_batch.demo.canvas import Array, Canvas, box, colour, ellipse

# The meaning of each coordinate, in order, with its range: coordinate -inf gives the first, +inf the second.
RANGES: dict[str, tuple[float, float]] = {
    "skin_tone": (0.0, 1.0),  # light to dark
    "skin_warmth": (-1.0, 1.0),  # pink to golden
    "hair_tone": (0.0, 1.0),  # black, brown, auburn, blond, silver
    "hair_chroma": (0.45, 1.25),
    "hair_length": (-0.05, 0.85),  # y at which it ends: ears to shoulders
    "hair_volume": (0.05, 0.21),  # how far it stands off the head
    "fringe": (-0.50, -0.24),  # y of the hairline
    "parting": (-0.28, 0.28),  # slant of the hairline
    "background_hue": (0.0, 6.2832),
    "background_light": (0.45, 0.95),
    "background_angle": (-1.2, 1.2),  # of the gradient, radians
    "face_width": (0.46, 0.58),
    "jaw": (0.04, 0.34),  # round to pointed
    "eye_size": (0.125, 0.175),
    "eye_opening": (0.45, 0.95),  # height over width
    "eye_colour": (0.0, 1.0),  # brown, green, blue
    "gaze": (-0.42, 0.42),  # of an eye's half width
    "brow_height": (-0.05, 0.05),
    "brow_tilt": (-0.35, 0.35),  # worried to stern
    "nose": (0.7, 1.3),  # relative size
    "smile": (-0.09, 0.13),  # by how much the corners of the mouth rise
    "mouth_opening": (-0.04, 0.17),  # closed below 0
    "turn": (-0.13, 0.13),  # shift of the features within the head
    "tilt": (-0.22, 0.22),  # radians; the head moves sideways with it
}
NAMES = tuple(RANGES)
CHUNK = 8  # images painted at once: their arrays stay in the processor's cache at 64 px

_SKINS = ((1.00, 0.87, 0.78), (0.96, 0.78, 0.64), (0.82, 0.60, 0.44), (0.60, 0.40, 0.27), (0.40, 0.26, 0.18))
_HAIRS = ((0.10, 0.08, 0.09), (0.28, 0.17, 0.11), (0.56, 0.26, 0.12), (0.86, 0.66, 0.32), (0.82, 0.82, 0.86))
_IRISES = ((0.30, 0.17, 0.08), (0.22, 0.45, 0.22), (0.16, 0.42, 0.72))
_ROSY = colour(1.0, 0.62, 0.6)
_LIP = colour(0.74, 0.25, 0.28)
_MOUTH = colour(0.33, 0.06, 0.09)
_WHITE = colour(0.98, 0.98, 0.97)
_DARK = colour(0.09, 0.06, 0.07)

Face = dict[str, Array]


def render(coordinates: Array, size: int = 64) -> Array:
    """Return the faces of `coordinates` [N, 24] (standard normal) as uint8 [N, size, size, 3]; deterministic."""
    if coordinates.ndim != 2 or coordinates.shape[1] != len(NAMES):
        raise ValueError(f"coordinates are {list(coordinates.shape)}; they must be [N, {len(NAMES)}]")
    images = np.empty((len(coordinates), size, size, 3), np.uint8)
    for start in range(0, len(coordinates), CHUNK):
        rgb = _draw(physical(coordinates[start : start + CHUNK]), size)
        images[start : start + CHUNK] = (rgb * 255 + 0.5).transpose(0, 2, 3, 1)
    return images


def physical(coordinates: Array) -> Face:
    """Return each parameter by name, float32 [N, 1, 1], uniform over its range for standard normal coordinates."""
    # the logistic curve of slope 1.702 is the normal distribution function to 1 %
    uniform = 1 / (1 + np.exp(-1.702 * np.asarray(coordinates, np.float64)))
    columns = {}
    for i, (name, (low, high)) in enumerate(RANGES.items()):
        columns[name] = (low + (high - low) * uniform[:, i]).astype(np.float32).reshape(-1, 1, 1)
    return columns


def _draw(face: Face, size: int) -> Array:
    """Return the faces as float32 [N, 3, size, size] in [0, 1], painted from back to front."""
    centres = ((np.arange(size, dtype=np.float32) + 0.5) * 2 / size - 1).astype(np.float32)
    x, y = centres[None, None, :], centres[None, :, None]
    canvas = Canvas(_background(face, x, y), size)
    cos, sin = np.cos(face["tilt"]), np.sin(face["tilt"])
    dx = x - face["tilt"] * 0.35  # a tilted head leans to its side
    dy = y - 0.3
    u, v = cos * dx + sin * dy, cos * dy - sin * dx + 0.25
    hair, skin = _hair(face), _skin(face)
    _paint_back_hair(canvas, face, u, v, hair)
    _paint_body(canvas, face, x, y, skin)
    _paint_head(canvas, face, u, v, skin)
    w = u - face["turn"]  # x of the features: they move with the turn of the head
    _paint_nose(canvas, face, w, v)
    _paint_mouth(canvas, face, w, v)
    for side in (-1, 1):
        _paint_eye(canvas, face, side, w, v)
        _paint_brow(canvas, face, side, w, v, hair)
    _paint_fringe(canvas, face, u, v, hair)
    image: Array = np.clip(canvas.rgb, 0, 1)
    return image


def _ramp(colours: tuple[tuple[float, float, float], ...], position: Array) -> Array:
    """Return the colour at `position` [N, 1, 1] in [0, 1] along `colours`, float32 [N, 3, 1, 1]."""
    knots = np.linspace(0, 1, len(colours))
    channels = [np.interp(position.reshape(-1), knots, channel) for channel in zip(*colours, strict=True)]
    return np.stack(channels, 1).astype(np.float32)[:, :, None, None]


def _hue(angle: Array, light: Array, chroma: float) -> Array:
    """Return a colour of the wheel, float32 [N, 3, 1, 1]: `angle` in radians, `light` its mean over the channels."""
    phases = np.array([0.0, 2.0944, 4.1888], np.float32).reshape(1, 3, 1, 1)
    return light[:, None] + chroma * np.cos(angle[:, None] - phases)


def _skin(face: Face) -> Array:
    """Return the colour of the skin, float32 [N, 3, 1, 1]: one of the ramp, made pinker or more golden."""
    warmth = colour(0.0, 0.025, -0.035)
    skin: Array = np.clip(_ramp(_SKINS, face["skin_tone"]) + warmth * face["skin_warmth"][:, None], 0, 1)
    return skin


def _hair(face: Face) -> Array:
    """Return the colour of the hair, float32 [N, 3, 1, 1]: one of the ramp, made paler or stronger."""
    hair = _ramp(_HAIRS, face["hair_tone"])
    grey = hair.mean(1, keepdims=True)
    stronger: Array = np.clip(grey + (hair - grey) * face["hair_chroma"][:, None], 0, 1)
    return stronger


def _background(face: Face, x: Array, y: Array) -> Array:
    """Return a gradient between two neighbouring hues, with a glow behind the head."""
    angle, hue, light = face["background_angle"], face["background_hue"], face["background_light"]
    along = 0.5 + 0.4 * (x * np.sin(angle) + y * np.cos(angle))
    near, far = _hue(hue, light, 0.16), _hue(hue + 0.9, light - 0.25, 0.16)
    glow = 0.09 * np.exp(-1.5 * (x * x + y * y))
    colours: Array = near + along[:, None] * (far - near) + glow[:, None]
    return colours


def _paint_back_hair(canvas: Canvas, face: Face, u: Array, v: Array, hair: Array) -> None:
    """Paint the hair behind head and neck, from the crown down to `hair_length`."""
    width = face["face_width"] + face["hair_volume"] * 0.75
    top = -0.68 - face["hair_volume"]
    half_height = (face["hair_length"] - top) / 2
    cover = canvas.cover(box(u, v - top - half_height, width, half_height, 0.42))
    canvas.paint(cover, hair * (0.72 - 0.14 * v[:, None]))


def _paint_body(canvas: Canvas, face: Face, x: Array, y: Array, skin: Array) -> None:
    """Paint the shoulders in a colour opposite to the background's, and the neck in the shadow of the chin."""
    cloth = _hue(face["background_hue"] + 2.6, 1.1 - face["background_light"], 0.17)
    lean = face["tilt"] * 0.35
    shadow = 1 - 0.25 * np.clip(np.abs(x) - 0.2, 0, 1)
    canvas.paint(canvas.cover(ellipse(x - lean / 2, y - 1.22, 0.86, 0.46)), cloth * shadow[:, None])
    neck = box(x - lean / 2, y - 0.62, 0.2, 0.32, 0.15)
    shadow = 0.72 + 0.3 * np.clip(y - 0.55, 0, 0.5)
    canvas.paint(canvas.cover(neck), skin * shadow[:, None])


def _paint_head(canvas: Canvas, face: Face, u: Array, v: Array, skin: Array) -> None:
    """Paint ears and face, lit from the upper left; the jaw narrows below the cheeks, which are rosy."""
    width, turn = face["face_width"], face["turn"]
    for side in (-1, 1):
        ear = ellipse(u - side * width + turn * 0.6, v - 0.07, 0.085, 0.13)
        canvas.paint(canvas.cover(ear), skin * 0.84)
    below = np.maximum(v, 0)
    narrow = 1 - face["jaw"] * below * below * 2.2
    p, q = u / (width * narrow), v / 0.68
    light = 1.03 - 0.14 * (p * p + q * q) - 0.09 * (p + turn) - 0.06 * q
    cover = canvas.cover(ellipse(u / narrow, v, width, 0.68))
    canvas.paint(cover, skin * light[:, None])
    for side in (-1, 1):
        across, down = u - turn - side * 0.29, v - 0.24
        blush = np.exp(-(across * across + down * down) * 55)
        canvas.paint(blush * 0.22, skin * _ROSY)


def _paint_nose(canvas: Canvas, face: Face, w: Array, v: Array) -> None:
    """Paint the nose: a bright ridge with a shadow on its right, a shadow under the tip, two nostrils."""
    size, x = face["nose"], w - face["turn"] * 0.35  # the tip stands out: it turns more
    tip = 0.07 + 0.11 * size
    ridge = ellipse(x, v - tip / 2, 0.035, tip / 2)
    canvas.shade(canvas.cover(ridge, 0.08), 1.10)
    canvas.shade(canvas.cover(ellipse(x - 0.055, v - tip * 0.62, 0.02, tip / 2.6), 0.06), 0.82)
    canvas.shade(canvas.cover(ellipse(x, v - tip, size * 0.085, size * 0.05), 0.05), 0.93)
    canvas.shade(canvas.cover(ellipse(x, v - tip - size * 0.04, size * 0.07, 0.022), 0.03), 0.62)


def _paint_mouth(canvas: Canvas, face: Face, w: Array, v: Array) -> None:
    """Paint two lips along parabolas; between them, when open, the dark inside and a row of teeth."""
    half_width = 0.19 + face["smile"] * 0.25
    t = np.clip(w / half_width, -1.6, 1.6)
    bow = t * t
    # a closed mouth has its lips together: the opening is a softened max(0, opening)
    opening = face["mouth_opening"]
    opening = (opening + np.sqrt(opening * opening + 4e-4)) / 2
    middle = 0.395 + face["smile"] * 0.45
    upper = middle - face["smile"] * bow
    lower = upper + opening * (1 - bow)
    ends = 1 / np.sqrt(1 + (2 * face["smile"] * t / half_width) ** 2)  # vertical to true distance
    side = (np.abs(w) - half_width) * 0.8
    thickness = 0.038 * np.maximum(1 - bow * 0.6, 0.2)
    lips = np.maximum(np.maximum(upper - thickness - v, v - lower - thickness * 1.3) * ends, side)
    canvas.paint(canvas.cover(lips) * 0.85, _LIP)
    inside = np.maximum(np.maximum(upper - v, v - lower) * ends, side)
    inner = canvas.cover(inside - 0.008)  # a closed mouth keeps a thin dark line
    canvas.paint(inner, _MOUTH)
    teeth = np.maximum(inside, v - upper - 0.055) + 0.012
    canvas.paint(canvas.cover(teeth), _WHITE)


def _paint_eye(canvas: Canvas, face: Face, side: int, w: Array, v: Array) -> None:
    """Paint white, iris, pupil and glint of an eye, all cut by the lids; a dark upper lid."""
    size = face["eye_size"]
    x = w - side * 0.235
    y = v - 0.015
    height = size * face["eye_opening"]
    eye = ellipse(x, y, size, height)
    canvas.shade(canvas.cover(ellipse(x, y + 0.02, size * 1.25, height * 1.3), 0.07), 0.86)
    lid = ellipse(x, y + 0.028, size * 1.1, height * 1.05)
    canvas.paint(canvas.cover(lid), _DARK)
    opening = canvas.cover(eye)
    canvas.paint(opening, _WHITE * (0.93 + 0.4 * y[:, None]))
    px, py = x - face["gaze"] * size, y
    radius = size * 0.60
    iris = _ramp(_IRISES, face["eye_colour"])
    distance = ellipse(px, py, radius, radius)
    canvas.paint(opening * canvas.cover(distance), iris * (1 + 4 * py[:, None]))
    canvas.paint(opening * canvas.cover(distance + radius * 0.5), _DARK)
    glint = ellipse(px + 0.035, py + 0.035, 0.028, 0.028)
    canvas.paint(opening * canvas.cover(glint), _WHITE)


def _paint_brow(canvas: Canvas, face: Face, side: int, w: Array, v: Array, hair: Array) -> None:
    """Paint a brow: a tapered arc in a darker colour of the hair."""
    x = (w - side * 0.245) * side  # positive outwards
    top = -0.235 + face["brow_height"] - face["brow_tilt"] * x + 1.3 * x * x
    thickness = 0.032 - 0.05 * x
    brow = np.maximum(np.abs(v - top) - thickness, np.abs(x) - 0.175)
    canvas.paint(canvas.cover(brow) * 0.9, hair * 0.62)


def _paint_fringe(canvas: Canvas, face: Face, u: Array, v: Array, hair: Array) -> None:
    """Paint the hair on the crown, above a slanted, curved hairline, with a band of shine."""
    volume, width = face["hair_volume"], face["face_width"]
    crown = ellipse(u, v + 0.06, width + volume * 0.75, volume + 0.66)
    arch = u / width
    hairline = v - face["fringe"] - face["parting"] * u - 0.42 * arch * arch * arch * arch
    cap = np.maximum(crown, hairline * 0.7)
    band = np.exp(-90 * (v + 0.62 + volume * 0.3 - 0.35 * u * u) ** 2)
    light = 1.0 - 0.28 * u + 0.5 * band * (0.6 - u)
    canvas.shade(canvas.cover(np.maximum(crown, hairline - 0.05), 0.08), 0.9)
    canvas.paint(canvas.cover(cap), hair * light[:, None])
