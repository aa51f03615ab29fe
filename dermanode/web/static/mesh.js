// A mesh as mesh.json brings it: read, cut open by a plane, and the profile along the cut. Nothing here draws.

const KINDS = { f4: Float32Array, u1: Uint8Array, u2: Uint16Array, u4: Uint32Array };

// A typed array of `{dtype, bdata}`; a plain list, as older cases have it, stays one.
function numbers(packed) {
  if (packed == null || Array.isArray(packed)) return packed ?? null;
  const bytes = Uint8Array.from(atob(packed.bdata), (letter) => letter.charCodeAt(0));
  return new KINDS[packed.dtype](bytes.buffer);
}

function bytes(colours) {
  if (!Array.isArray(colours)) return numbers(colours);
  return Uint8Array.from(colours.flatMap((colour) => colour.match(/\d+/g).map(Number)));
}

// {x, y, z, i, j, k, rgb} and, where known, {heights, curvature, isLesion}.
export function read(content) {
  const part = Object.fromEntries(["x", "y", "z", "i", "j", "k", "heights", "curvature"].map((name) => [name, numbers(content[name])]));
  return { ...part, rgb: bytes(content.colours), isLesion: numbers(content.is_lesion) };
}

export function extent(parts, axis) {
  let low = Infinity, high = -Infinity;
  for (const part of parts) for (const value of part[axis]) { if (value < low) low = value; if (value > high) high = value; }
  return [low, high];
}

// What lies on the far side (sign 1) or near side (sign -1) of the plane axis = at, and `edge`: pairs of corners along the cut.
// A triangle across the plane is split, so that the cut is a straight one.
export function cut(part, axis, at, sign) {
  const names = ["x", "y", "z", "heights", "curvature", "isLesion"].filter((name) => part[name]);
  const made = { i: [], j: [], k: [], rgb: Array.from(part.rgb), edge: [] };
  for (const name of names) made[name] = Array.from(part[name]);
  const along = part[axis];
  const beyond = Float64Array.from(along, (value) => sign * (value - at));
  const split = new Map();
  const count = along.length;
  const between = (a, b) => {
    const key = a < b ? a * count + b : b * count + a;
    let corner = split.get(key);
    if (corner === undefined) {
      const share = beyond[a] / (beyond[a] - beyond[b]);
      corner = made.x.length;
      for (const name of names) made[name].push(part[name][a] + share * (part[name][b] - part[name][a]));
      for (let c = 0; c < 3; c++) made.rgb.push(Math.round(part.rgb[3 * a + c] + share * (part.rgb[3 * b + c] - part.rgb[3 * a + c])));
      split.set(key, corner);
    }
    return corner;
  };
  const add = (a, b, c) => { made.i.push(a); made.j.push(b); made.k.push(c); };
  for (let face = 0; face < part.i.length; face++) {
    let [a, b, c] = [part.i[face], part.j[face], part.k[face]];
    const kept = (beyond[a] >= 0) + (beyond[b] >= 0) + (beyond[c] >= 0);
    if (kept === 3) { add(a, b, c); continue; }
    if (kept === 0) continue;
    // Turn the triangle until the corner that is alone on its side of the plane comes first.
    const alone = kept === 1;
    while ((beyond[a] >= 0) !== alone) [a, b, c] = [b, c, a];
    const p = between(a, b), q = between(a, c);
    if (alone) add(a, p, q);
    else { add(p, b, c); add(p, c, q); }
    made.edge.push([p, q]);
  }
  return made;
}

// Along a cut, at `count` places from its one end to the other: the highest and lowest z, the height above the base there, and whether
// it is lesion; NaN where the cut meets nothing.
export function profile(part, across, count = 240) {
  const ends = part.edge.flat().map((corner) => part[across][corner]);
  if (!ends.length) return [];
  const low = ends.reduce((a, b) => Math.min(a, b)), high = ends.reduce((a, b) => Math.max(a, b));
  const step = (high - low) / (count - 1) || 1;
  const places = Array.from({ length: count }, (_, n) => ({ at: low + n * step, top: NaN, bottom: NaN, height: NaN, isLesion: false }));
  for (const [p, q] of part.edge) {
    const [a, b] = part[across][p] <= part[across][q] ? [p, q] : [q, p];
    const from = part[across][a], width = part[across][b] - from;
    for (let n = Math.max(0, Math.ceil((from - low) / step - 1e-6)); n < count && places[n].at <= from + width + 1e-6 * step; n++) {
      const share = width > 0 ? Math.min(1, Math.max(0, (places[n].at - from) / width)) : 0;
      const here = (name) => part[name][a] + share * (part[name][b] - part[name][a]);
      const z = here("z"), place = places[n];
      if (!(z <= place.top)) {
        place.top = z;
        place.height = part.heights ? here("heights") : z;
        place.isLesion = part.isLesion ? here("isLesion") >= 0.5 : false;
      }
      if (!(z >= place.bottom)) place.bottom = z;
    }
  }
  return places;
}

// The face that the cut lays open, between the mesh's upper and lower side.
export function section(places, axis, at, across) {
  const made = { x: [], y: [], z: [], i: [], j: [], k: [] };
  places.forEach((place, n) => {
    for (const z of [place.top, place.bottom]) { made[axis].push(at); made[across].push(place.at); made.z.push(Number.isFinite(z) ? z : 0); }
    if (n > 0 && Number.isFinite(place.top) && Number.isFinite(places[n - 1].top)) {
      const corner = 2 * n;
      made.i.push(corner - 2, corner - 1); made.j.push(corner - 1, corner + 1); made.k.push(corner, corner);
    }
  });
  return made;
}
