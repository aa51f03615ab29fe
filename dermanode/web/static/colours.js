// Scales that the colour-blind can read: viridis for heights, blue over white to red for what has two signs.
const VIRIDIS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];
const BOTH_SIGNS = ["#053061", "#2166ac", "#4393c3", "#92c5de", "#f7f7f7", "#f4a582", "#d6604d", "#b2182b", "#67001f"];
export const SCALES = { height: VIRIDIS, curvature: BOTH_SIGNS };

const channels = (colour) => [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));

// `rgb(...)` of a share from 0 to 1 of a scale.
function shade(scale, share) {
  const place = Math.min(1, Math.max(0, share)) * (scale.length - 1);
  const lower = Math.min(scale.length - 2, Math.floor(place)), rest = place - lower;
  const [from, to] = [channels(scale[lower]), channels(scale[lower + 1])];
  return `rgb(${from.map((value, c) => Math.round(value + rest * (to[c] - value))).join()})`;
}

const photograph = (part) => Array.from(part.x, (_, n) => `rgb(${part.rgb[3 * n]},${part.rgb[3 * n + 1]},${part.rgb[3 * n + 2]})`);

// The photograph in pale grey, for what a map says nothing about.
function grey(part, n) {
  const light = Math.round(110 + 0.5 * (0.3 * part.rgb[3 * n] + 0.59 * part.rgb[3 * n + 1] + 0.11 * part.rgb[3 * n + 2]));
  return `rgb(${light},${light},${light})`;
}

// The colour of each corner. `range` is [low, high] of the map.
export function coloured(part, mode, range) {
  if (mode === "photograph") return photograph(part);
  const steps = Array.from({ length: 257 }, (_, n) => shade(SCALES[mode], n / 256));
  const values = mode === "height" ? part.heights ?? part.z : part.curvature;
  const isTold = (n) => values && Number.isFinite(values[n]) && !(mode === "curvature" && part.isLesion && part.isLesion[n] < 0.5);
  const step = (value) => Math.round(256 * Math.min(1, Math.max(0, (value - range[0]) / (range[1] - range[0]))));
  return Array.from(part.x, (_, n) => (isTold(n) ? steps[step(values[n])] : grey(part, n)));
}
