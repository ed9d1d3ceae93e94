// Maps in the plane of the picture, as 3 × 3 rows, and where a picture lies in the brain.
//
// `forward` leads from (x, y, 1) in pixels of the flat picture to (p, i, r) in µm. The atlas is moved
// over the picture by a map A of the picture's pixels: what was at x is then at A x, so that the new
// forward is forward · A⁻¹.

export const IDENTITY = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];

export function multiply(a, b) {
  return a.map((row) => [0, 1, 2].map((j) => row[0] * b[0][j] + row[1] * b[1][j] + row[2] * b[2][j]));
}

/** The inverse of an affine map, whose last row is 0 0 1. */
export function inverse([[a, b, c], [d, e, f]]) {
  const area = a * e - b * d;
  return [
    [e / area, -b / area, (b * f - c * e) / area],
    [-d / area, a / area, (c * d - a * f) / area],
    [0, 0, 1],
  ];
}

export function apply(map, [x, y]) {
  return map.map((row) => row[0] * x + row[1] * y + row[2]);
}

export function moved(map, point) {
  return apply(map, point).slice(0, 2);
}

export function shift(dx, dy) {
  return [[1, 0, dx], [0, 1, dy], [0, 0, 1]];
}

/** A linear map with one point that stays. */
export function about([x, y], [[a, b], [c, d]]) {
  return [[a, b, x - a * x - b * y], [c, d, y - c * x - d * y], [0, 0, 1]];
}

export function rotation(centre, degrees) {
  const [cos, sin] = [Math.cos(degrees * Math.PI / 180), Math.sin(degrees * Math.PI / 180)];
  return about(centre, [[cos, -sin], [sin, cos]]);
}

/** Where the atlas lies once it has been moved over the picture by A. */
export function placed(forward, map) {
  return multiply(forward, inverse(map));
}

/** The pixel of the flat picture that is nearest to a place in the brain. */
export function nearestPixel(forward, place) {
  const along = [0, 1].map((k) => forward.map((row) => row[k]));
  const way = forward.map((row, k) => place[k] - row[2]);
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const [uu, uv, vv] = [dot(along[0], along[0]), dot(along[0], along[1]), dot(along[1], along[1])];
  const [u, v] = [dot(along[0], way), dot(along[1], way)];
  const area = uu * vv - uv * uv;
  return [(vv * u - uv * v) / area, (uu * v - uv * u) / area];
}

/** The map that carries a picture of the atlas drawn for one plane to where it is for another. */
export function carried(from, to) {
  const [zero, one, two] = [[0, 0], [1000, 0], [0, 1000]].map((at) => nearestPixel(to, apply(from, at)));
  return [
    [(one[0] - zero[0]) / 1000, (two[0] - zero[0]) / 1000, zero[0]],
    [(one[1] - zero[1]) / 1000, (two[1] - zero[1]) / 1000, zero[1]],
    [0, 0, 1],
  ];
}

/** The plane moved along an axis of the brain (0, 1, 2), in µm. */
export function pushed(forward, axis, by) {
  return forward.map((row, k) => (k === axis ? [row[0], row[1], row[2] + by] : [...row]));
}

/** The plane turned in the brain about an axis through the place of a pixel. */
export function turned(forward, axis, degrees, pixel) {
  const centre = apply(forward, pixel);
  const [u, v] = [(axis + 1) % 3, (axis + 2) % 3];
  const [cos, sin] = [Math.cos(degrees * Math.PI / 180), Math.sin(degrees * Math.PI / 180)];
  const out = forward.map((row) => [...row]);
  for (let j = 0; j < 3; j += 1) {
    const [a, b] = j === 2 ? [forward[u][2] - centre[u], forward[v][2] - centre[v]] : [forward[u][j], forward[v][j]];
    out[u][j] = cos * a - sin * b + (j === 2 ? centre[u] : 0);
    out[v][j] = sin * a + cos * b + (j === 2 ? centre[v] : 0);
  }
  return out;
}

export function same(a, b) {
  return a.every((row, k) => row.every((value, j) => Math.abs(value - b[k][j]) <= 1e-9 * (1 + Math.abs(value))));
}
