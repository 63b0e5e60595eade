"""Pictures of a world: one ray a pixel, more where edges are, sun with shadows, ambient occlusion, haze."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from lidardistill.synthetic.matter.materials import LEAF
from lidardistill.synthetic.matter.pattern import noise
from lidardistill.synthetic.matter.textures import LEVEL_START, atlas
from lidardistill.synthetic.place.world import World
from lidardistill.synthetic.render.face_table import surface_points
from lidardistill.synthetic.render.filters import develop, film_table, find_edges, smooth_openness
from lidardistill.synthetic.render.raycast import Hits, Placement
from lidardistill.synthetic.render.shading import Paint, Rays, Seen, Surfaces, shade
from lidardistill.synthetic.render.visibility import first_hits, in_sun, sunlight

AO_FAR_M = 2.5
AO_SEEN_M = 45.0
"""Farther than this nobody sees what is hidden within `AO_FAR_M`."""
LEAST_CONTRAST = 0.2
_SUBPIXELS = np.array([(0.05, 0.38), (-0.36, -0.15), (0.31, -0.23)])
_SUN_SPREAD = 0.012 * np.array([[1.0, 0.0, 0.5], [-0.5, 0.8, -0.5], [-0.5, -0.8, 0.0]], dtype=np.float32)


class View(NamedTuple):
    """One rendered picture.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        label: (H, W) uint8 raw lidarseg class at pixel centres, 0 where there is sky.
        thing: (H, W) int32 number of the object, -1 where there is sky.
        depth: (H, W) float32 camera z in metres, infinity where there is sky.
    """

    image: np.ndarray
    label: np.ndarray
    thing: np.ndarray
    depth: np.ndarray


@lru_cache(maxsize=16)
def _pixel_rays(key: bytes, height: int, width: int) -> np.ndarray:
    """(H, W, 3) float64 rays of z = 1 in the camera frame."""
    k = np.frombuffer(key, dtype=np.float64).reshape(3, 3)
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones((height, width))], axis=2)


@lru_cache(maxsize=1)
def _stains() -> np.ndarray:
    """(64, 64) float32 broad stains that no texture repeats."""
    rng = np.random.Generator(np.random.PCG64(5))
    return (0.55 * noise(rng, 1.4, 2, size=64)).astype(np.float32)


def _fan() -> np.ndarray:
    """(16, 3) float32 directions about +z, denser near it; a 4 x 4 block of pixels covers the hemisphere."""
    k = np.arange(16)
    z = np.sqrt(1 - (k + 0.5) / 16)
    angle = k * 2.399963
    flat = np.sqrt(1 - z * z)
    directions = np.stack([flat * np.cos(angle), flat * np.sin(angle), z], axis=1)
    return directions[(5 * k + 3) % 16].astype(np.float32)


_FAN = _fan()


def _openness(
    world: World, hits: Hits, points: np.ndarray, normals: np.ndarray, shape: tuple[int, int], at: Placement
) -> np.ndarray:
    """(H, W) float32: 1 in the open, less in corners and under things; traced for every fourth pixel."""
    height, width = shape
    pick = np.arange(height * width).reshape(height, width)[::2, ::2]
    h2, w2 = pick.shape
    flat = pick.reshape(-1)
    good = np.flatnonzero((hits.face[flat] >= 0) & (hits.distance[flat] < AO_SEEN_M))
    rows = flat[good]
    n = normals[rows]
    helper = np.where(
        np.abs(n[:, 2:3]) < 0.9,
        np.array([[0, 0, 1]], dtype=np.float32),
        np.array([[1, 0, 0]], dtype=np.float32),
    )
    tangent = np.cross(n, helper)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    other = np.cross(n, tangent)
    cell = ((good // w2) % 4) * 4 + (good % w2) % 4
    fan = _FAN[cell]
    direction = (fan[:, 0:1] * tangent + fan[:, 1:2] * other + fan[:, 2:3] * n).astype(np.float32)
    raw = np.ones(h2 * w2, dtype=np.float32)
    raw[good] = ~world.tracer.occluded(np.ascontiguousarray(points[rows]), direction, AO_FAR_M, at)
    smooth = np.empty((h2, w2), dtype=np.float32)
    smooth_openness(
        raw.reshape(h2, w2), hits.distance[flat].reshape(h2, w2), normals[flat].reshape(h2, w2, 3), 2, smooth
    )
    # Take the nearest value: the mean of the four around a pixel would blur edges.
    full = np.repeat(np.repeat(smooth, 2, axis=0), 2, axis=1)[:height, :width]
    return np.ascontiguousarray(0.18 + 0.82 * full)


def _light_along(
    world: World,
    origin: np.ndarray,
    directions: np.ndarray,
    steps: np.ndarray,
    hits: Hits,
    lit: np.ndarray,
    openness: np.ndarray,
    at: Placement,
) -> np.ndarray:
    _, texels = atlas()
    faces, light, materials = world.faces, world.light, world.materials
    out = np.empty((len(directions), 3), dtype=np.float32)
    shade(
        Rays(directions, steps, origin),
        Seen(hits.distance, hits.face, hits.u, hits.v, lit, openness),
        Surfaces(faces.table, faces.material, faces.pose, at.rotation),
        Paint(materials.values, materials.texture, texels, LEVEL_START, _stains()),
        light,
        out,
    )
    return out


def render(
    world: World,
    cam2world: np.ndarray,
    intrinsics: np.ndarray,
    image_size: tuple[int, int],
    time_s: float,
    *,
    smooth_edges: bool = True,
    exact: bool = False,
) -> View:
    """Render what one camera sees at one time.

    Args:
        world: the world.
        cam2world: (4, 4) float64, camera (z forward, y down) to world.
        intrinsics: (3, 3) float64.
        image_size: height, width in pixels; pixel (row, column) is centred at (v, u).
        time_s: seconds since the drive began.
        smooth_edges: average several rays where neighbours differ.
        exact: trace every pixel; else only where neighbours disagree, see `visibility`.
    """
    height, width = image_size
    at = world.placement(time_s)
    rotation = cam2world[:3, :3]
    origin = cam2world[:3, 3].astype(np.float32)
    rays = (
        _pixel_rays(np.ascontiguousarray(intrinsics, dtype=np.float64).tobytes(), height, width) @ rotation.T
    )
    directions, length = _unit(rays.reshape(-1, 3))
    steps = (rotation[:, :2] / np.diag(intrinsics)[:2]).T.astype(np.float32)
    hits = first_hits(world, origin, directions, image_size, at, exact)
    points, normals = np.empty_like(directions), np.zeros_like(directions)
    surface_points(
        origin,
        directions,
        hits.distance,
        hits.face,
        world.faces.table,
        world.faces.pose,
        at.rotation,
        points,
        normals,
    )
    seen = hits.face >= 0
    sunny = float(world.light.sun_rgb.max()) > 0
    lit = np.zeros(len(directions), dtype=np.float32)
    if sunny:
        leaf = world.materials.values[world.faces.material[hits.face], LEAF] > 0
        wanted = seen & ((normals @ world.light.sun > 0) | leaf)
        lit = sunlight(world, hits, points, wanted, image_size, at, exact)
    openness = _openness(world, hits, points, normals, image_size, at)
    linear = _light_along(world, origin, directions, steps, hits, lit, openness.reshape(-1), at)

    if smooth_edges:
        # Foliage is one surface: its own leaves and their shadows are left as they are.
        material = world.faces.material[hits.face]
        leafy = world.materials.values[material, LEAF] > 0
        key = np.where(leafy, -2 - world.faces.thing[hits.face], material)
        edges = np.zeros(image_size, dtype=np.bool_)
        find_edges(
            np.where(seen, key, -1).astype(np.int32).reshape(image_size),
            hits.distance.reshape(image_size),
            np.where(leafy, np.float32(0.0), lit).reshape(image_size),
            normals.reshape(height, width, 3),
            linear.reshape(height, width, 3),
            LEAST_CONTRAST,
            edges,
        )
        rows = np.flatnonzero(edges)
        if len(rows):
            linear[rows] = _smooth(
                world,
                rows,
                rays.reshape(-1, 3),
                origin,
                rotation,
                intrinsics,
                steps,
                openness.reshape(-1),
                linear,
                at,
                hits.face,
                lit.reshape(image_size) if sunny else None,
            )
    image = np.empty((height * width, 3), dtype=np.uint8)
    develop(linear, float(world.light.exposure), film_table(), image)
    depth = np.where(seen, hits.distance / length, np.inf).astype(np.float32)
    return View(
        image.reshape(height, width, 3),
        np.where(seen, world.faces.label[hits.face], 0).astype(np.uint8).reshape(image_size),
        np.where(seen, world.faces.thing[hits.face], -1).astype(np.int32).reshape(image_size),
        depth.reshape(image_size),
    )


def _smooth(
    world: World,
    rows: np.ndarray,
    rays: np.ndarray,
    origin: np.ndarray,
    rotation: np.ndarray,
    intrinsics: np.ndarray,
    steps: np.ndarray,
    openness: np.ndarray,
    linear: np.ndarray,
    at: Placement,
    seen_face: np.ndarray,
    seen_light: np.ndarray | None,
) -> np.ndarray:
    """Light of edge pixels: some more rays each, with the sun's disc spread over them."""
    count = len(rows)
    shift = _SUBPIXELS[:, 0, None] * (rotation[:, 0] / intrinsics[0, 0]) + _SUBPIXELS[:, 1, None] * (
        rotation[:, 1] / intrinsics[1, 1]
    )
    directions, _ = _unit((rays[rows][:, None] + shift[None]).reshape(-1, 3))
    hits = world.tracer.intersect(_repeat(origin, len(directions)), directions, at)
    points, normals = np.empty_like(directions), np.zeros_like(directions)
    surface_points(
        origin,
        directions,
        hits.distance,
        hits.face,
        world.faces.table,
        world.faces.pose,
        at.rotation,
        points,
        normals,
    )
    lit = np.zeros(len(directions), dtype=np.float32)
    if seen_light is not None:
        # Where the pixel's surroundings are all in the sun or all in the shade, so is this part of its
        # surface.
        faces = world.faces
        centre = np.repeat(rows, len(_SUBPIXELS))
        lit[:] = seen_light.reshape(-1)[centre]
        same = (hits.face >= 0) & (faces.thing[hits.face] == faces.thing[seen_face[centre]])
        known = same & ~_differs(seen_light).reshape(-1)[centre]
        good = np.flatnonzero((hits.face >= 0) & (normals @ world.light.sun > 0) & ~known)
        lit[~known] = 0.0
        towards = world.light.sun + _SUN_SPREAD[good % len(_SUN_SPREAD)]
        lit[good] = in_sun(world, points[good], towards, at)
    light = _light_along(
        world, origin, directions, steps, hits, lit, np.repeat(openness[rows], len(_SUBPIXELS)), at
    )
    # Very bright rays are held back, so that one glint does not fill its pixel.
    bright = np.minimum(light.reshape(count, len(_SUBPIXELS), 3), 4.0)
    return (bright.sum(axis=1) + np.minimum(linear[rows], 4.0)) / (len(_SUBPIXELS) + 1.0)


def _differs(picture: np.ndarray) -> np.ndarray:
    """(H, W) bool: does a pixel differ from one of the four beside it?"""
    out = np.zeros(picture.shape, dtype=np.bool_)
    down, right = picture[1:] != picture[:-1], picture[:, 1:] != picture[:, :-1]
    out[1:] |= down
    out[:-1] |= down
    out[:, 1:] |= right
    out[:, :-1] |= right
    return out


def _unit(rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    length = np.sqrt(np.einsum("nk,nk->n", rays, rays))
    return np.ascontiguousarray(rays / length[:, None], dtype=np.float32), length


def _repeat(origin: np.ndarray, count: int) -> np.ndarray:
    return np.tile(origin, (count, 1))
