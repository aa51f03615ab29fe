// The lesion's surface: turned with the mouse, coloured by photograph, height or curvature, with its cameras, and cut open by a plane.
import { SCALES, coloured } from "./colours.js";
import { cut, extent, profile, read, section } from "./mesh.js";

const element = document.getElementById("surface");
const tool = (name) => document.getElementById("surface-" + name);
// Plotly offers to share a chart over its makers' servers: nothing leaves the house from here.
const PLOTLY = { displaylogo: false, responsive: true, showSendToCloud: false, plotlyServerURL: "", modeBarButtonsToRemove: ["resetCameraLastSave3d", "orbitRotation", "tableRotation", "zoom3d", "pan3d"] };
const two = (value) => value.toFixed(2).replace("-", "−");
const three = (value) => String(Number(value.toPrecision(3))).replace("-", "−");

function fail(words) { element.textContent = "The surface is not available: " + words; }

async function start() {
  if (typeof Plotly === "undefined") return fail("Plotly did not load.");
  const answer = await fetch(element.dataset.mesh);
  if (!answer.ok) return fail(String(answer.status));
  const content = await answer.json();
  const mesh = read(content);
  const skin = content.skin ? read(content.skin) : null;
  return new Viewer(content, mesh, skin).open();
}

class Viewer {
  constructor(content, mesh, skin) {
    Object.assign(this, { content, mesh, skin, mode: "photograph", axis: "", at: 0, hasCameras: false, stretch: 1, turns: 0 });
    this.parts = skin ? [mesh, skin] : [mesh];
    this.numbers = JSON.parse(element.dataset.views);
    this.ranges = { height: this.heights(), curvature: this.curvatures() };
    this.box = Object.fromEntries(["x", "y", "z"].map((axis) => [axis, extent(this.parts, axis)]));
    this.size = Math.max(...["x", "y"].map((axis) => this.box[axis][1] - this.box[axis][0]));
    this.middle = ["x", "y", "z"].map((axis) => { const [low, high] = extent([mesh], axis); return (low + high) / 2; });
    this.cameras = (content.cameras ?? []).map((camera) => this.placed(camera));
    // What is said of heights never names millimetres where they are none.
    this.heightWords = content.is_metric ? (mesh.heights ? "height above the skin, mm" : "z, mm") : "relative height";
  }

  heights() {
    const [low, high] = extent(this.parts, this.mesh.heights ? "heights" : "z");
    const start = low > -0.001 * high ? 0 : low;  // skin is flat but for the noise of its digits
    return [start, high > start ? high : start + 1];
  }

  curvatures() {
    const { curvature, isLesion } = this.mesh;
    if (!curvature) return null;
    const sizes = Array.from(curvature).filter((value, n) => Number.isFinite(value) && (!isLesion || isLesion[n])).map(Math.abs).sort((a, b) => a - b);
    const most = sizes[Math.floor(0.98 * (sizes.length - 1))] || 1;  // the last hundredths are specks that would take all of the scale
    const digit = 10 ** Math.floor(Math.log10(most));
    const reach = Math.ceil(most / digit - 1e-9) * digit;
    return [-reach, reach];
  }

  placed(camera) {
    const away = camera.centre.map((value, n) => value - this.middle[n]);
    const distance = Math.hypot(...away);
    const drawn = Math.min(distance, 0.7 * this.size);
    const place = this.middle.map((value, n) => value + (away[n] / (distance || 1)) * drawn);
    const number = this.numbers.indexOf(camera.view) + 1;
    return { ...camera, place, distance, isNearer: drawn < distance, name: number > 0 ? String(number) : "?" };
  }

  async open() {
    await Plotly.newPlot(element, this.traces(), this.layout(), PLOTLY);
    for (const button of document.querySelectorAll("[data-mode]")) {
      button.hidden = button.dataset.mode === "curvature" && !this.ranges.curvature;
      button.addEventListener("click", () => { this.mode = button.dataset.mode; this.draw(); });
    }
    tool("cameras").closest("label").hidden = !this.cameras.length;
    tool("cameras").addEventListener("change", (event) => { this.hasCameras = event.target.checked; this.turns++; this.draw(); });
    tool("stretch").addEventListener("change", (event) => { this.stretch = Number(event.target.value); this.draw(); });
    tool("axis").addEventListener("change", (event) => this.choose(event.target.value));
    tool("place").addEventListener("input", () => this.move());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    tool("tools").hidden = false;
    await this.draw();
    element.dataset.drawn = "yes";
  }

  choose(axis) {
    this.axis = axis;
    this.turns++;
    tool("place").value = 500;
    this.move();
  }

  move() {
    const [low, high] = this.axis ? extent([this.mesh], this.axis) : [0, 0];
    this.at = low + (tool("place").value / 1000) * (high - low);
    this.draw();
  }

  // One drawing at a time; what changed meanwhile is drawn after it.
  async draw() {
    if (this.isDrawing) { this.isStale = true; return; }
    this.isDrawing = true;
    do {
      this.isStale = false;
      await new Promise(requestAnimationFrame);
      await Plotly.react(element, this.traces(), this.layout(), PLOTLY);
      await this.explain();
    } while (this.isStale);
    this.isDrawing = false;
  }

  get ink() { return getComputedStyle(document.body).color; }
  get accent() { return getComputedStyle(document.documentElement).getPropertyValue("--accent").trim(); }
  get quiet() { return getComputedStyle(document.documentElement).getPropertyValue("--quiet").trim(); }
  get grid() { return getComputedStyle(document.documentElement).getPropertyValue("--line").trim(); }
  get across() { return this.axis === "x" ? "y" : "x"; }

  traces() {
    // The half nearer to the eye goes.
    const sign = this.axis === "y" ? 1 : -1;
    const shown = this.axis ? this.parts.map((part) => cut(part, this.axis, this.at, sign)) : this.parts;
    this.profiles = this.axis ? shown.map((part) => profile(part, this.across)) : [];
    const [own, around] = this.profiles;
    // The skin ends where the lesion stands: it goes on a little beneath the rim.
    if (own?.length) for (const place of around ?? []) if (place.at > own[0].at && place.at < own.at(-1).at) place.top = place.height = NaN;
    const solid = (part, colours) => ({ type: "mesh3d", x: part.x, y: part.y, z: part.z, i: part.i, j: part.j, k: part.k, flatshading: false, hoverinfo: "skip",
      lighting: { ambient: 0.75, diffuse: 0.5, specular: 0.04, roughness: 0.9 }, lightposition: { x: -1000, y: 2000, z: 8000 }, ...colours });
    const traces = shown.map((part) => solid(part, { vertexcolor: coloured(part, this.mode, this.ranges[this.mode]) }));
    if (this.axis) {
      if (this.content.is_closed && own.length) traces.push({ ...solid(section(own, this.axis, this.at, this.across), { color: this.accent }), lighting: { ambient: 1, diffuse: 0, specular: 0 } });
      for (const places of this.profiles.toReversed()) traces.push(this.line(places));
    }
    return this.hasCameras ? [...traces, ...this.frustums()] : traces;
  }

  line(places) {
    const trace = { type: "scatter3d", mode: "lines", line: { width: 4, color: this.ink }, hoverinfo: "skip", showlegend: false };
    return { ...trace, [this.axis]: places.map(() => this.at), [this.across]: places.map((place) => place.at), z: places.map((place) => place.top) };
  }

  frustums() {
    const lines = { x: [], y: [], z: [] }, rays = { x: [], y: [], z: [] };
    const draw = (target, ...points) => ["x", "y", "z"].forEach((axis, n) => target[axis].push(...points.map((point) => point[n]), null));
    const reach = 0.09 * this.size;
    for (const { place, right, down, forward } of this.cameras) {
      const corner = (across, along) => place.map((value, n) => value + reach * (forward[n] + across * 0.5 * right[n] + along * 0.38 * down[n]));
      const corners = [corner(-1, -1), corner(1, -1), corner(1, 1), corner(-1, 1)];
      draw(lines, ...corners, corners[0]);
      for (const end of corners) draw(lines, place, end);
      draw(rays, place, this.middle);
    }
    const at = (n) => this.cameras.map((camera) => camera.place[n]);
    const common = { type: "scatter3d", hoverinfo: "skip", showlegend: false };
    return [
      { ...common, mode: "lines", ...rays, line: { width: 1.5, color: this.quiet }, opacity: 0.5 },
      { ...common, mode: "lines", ...lines, line: { width: 3, color: this.accent } },
      { ...common, mode: "markers+text", x: at(0), y: at(1), z: at(2), marker: { size: 3, color: this.accent }, text: this.cameras.map((camera) => camera.name),
        textposition: "top center", textfont: { color: this.ink, size: 13 } },
    ];
  }

  layout() {
    const stretch = this.hasCameras ? 1 : this.stretch;
    const range = (axis) => {
      // Some air above a flat lesion keeps the axes readable.
      const [low, high] = axis === "z" ? [this.box.z[0], Math.max(this.box.z[1], this.box.z[0] + (0.2 * this.size) / stretch)] : this.box[axis];
      const places = this.hasCameras ? this.cameras.map((camera) => camera.place["xyz".indexOf(axis)]) : [];
      const margin = places.length ? 0.06 * this.size : 0;
      return [Math.min(low, ...places.map((place) => place - margin)), Math.max(high, ...places.map((place) => place + margin))];
    };
    const axis = (name, text) => ({ title: { text, font: { size: 12 } }, range: range(name), color: this.ink, showbackground: false, gridcolor: this.grid, zeroline: false, nticks: 6 });
    const lateral = this.content.lateral_unit;
    const sides = ["x", "y", "z"].map((name) => (range(name)[1] - range(name)[0]) * (name === "z" ? stretch : 1));
    const mean = Math.cbrt(sides[0] * sides[1] * sides[2]);
    const drawn = stretch > 1 ? `, drawn ${stretch} times as high` : "";
    // Plotly fits the height; a narrow window needs more distance.
    const away = Math.max(1, (1.5 * element.clientHeight) / element.clientWidth);
    const eye = { "": [0, -1.35, 1.6], y: [0, -1, 0.55], x: [0.95, -0.6, 0.55] }[this.axis].map((place) => place * away);
    const center = { "": [0, 0, -0.08], y: [0, 0.1, -0.04], x: [-0.1, 0, -0.04] }[this.axis];
    return {
      margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: "rgba(0,0,0,0)", font: { color: this.ink }, showlegend: false,
      // A new choice of plane looks at what it opens; else the reader's own turn stays.
      scene: { uirevision: this.turns, aspectmode: "manual", aspectratio: { x: sides[0] / mean, y: sides[1] / mean, z: sides[2] / mean }, xaxis: axis("x", `x, ${lateral}`), yaxis: axis("y", `y, ${lateral}`),
        zaxis: axis("z", (this.content.is_metric ? "z, mm" : "relative height") + drawn), camera: { eye: { x: eye[0], y: eye[1], z: eye[2] }, center: { x: center[0], y: center[1], z: center[2] } } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: this.quiet, activecolor: this.accent },
    };
  }

  async explain() {
    for (const button of document.querySelectorAll("[data-mode]")) button.setAttribute("aria-pressed", String(button.dataset.mode === this.mode));
    this.legend();
    const note = tool("note");
    const words = this.hasCameras ? this.cameraWords() : this.stretch > 1 ? `Heights are drawn ${this.stretch} times as high as they are.` : "";
    note.hidden = !words;
    note.textContent = words;
    tool("place").disabled = !this.axis;
    tool("stretch").disabled = this.hasCameras;  // far above, they would be drawn out of sight
    tool("at").textContent = this.axis ? `${this.axis} = ${two(this.at)} ${this.content.lateral_unit}` : "";
    tool("place").setAttribute("aria-valuetext", tool("at").textContent);
    tool("profile").hidden = tool("profile-words").hidden = !this.axis;
    if (this.axis) await this.drawProfile();
  }

  legend() {
    const legend = tool("legend"), range = this.ranges[this.mode];
    legend.hidden = this.mode === "photograph";
    if (legend.hidden) return;
    const isCurvature = this.mode === "curvature";
    const scale = this.content.curvature_scale_mm;
    const unit = this.content.is_metric ? "mean curvature, 1/mm" : "relative mean curvature";
    const words = isCurvature ? unit + (scale && this.content.is_metric ? `, at a scale of ${three(scale)} mm` : "") : this.heightWords;
    const ends = isCurvature ? [`${three(range[0])} hollow`, "0", `+${three(range[1])} bulging`] : [three(range[0]), three((range[0] + range[1]) / 2), three(range[1])];
    legend.querySelector("i").style.background = `linear-gradient(to right, ${SCALES[this.mode].join()})`;
    legend.querySelectorAll("span").forEach((span, n) => { span.textContent = [words, ...ends][n]; });
    legend.setAttribute("aria-label", `Colours: ${words}, from ${ends[0]} to ${ends[2]}`);
  }

  cameraWords() {
    const distances = this.cameras.map((camera) => camera.distance);
    const [low, high] = [Math.min(...distances), Math.max(...distances)].map(three);
    const where = this.content.is_metric ? ` stood ${low === high ? low : `${low} to ${high}`} mm from the lesion; they` : "";
    return `The cameras${where} are drawn ${this.cameras.some((camera) => camera.isNearer) ? "nearer, in their true directions," : "where they stood,"} with the numbers of their views.`;
  }

  async drawProfile() {
    const [own, around] = this.profiles;
    const isLesion = (place) => this.content.is_closed || place.isLesion;
    const lesion = own.filter((place) => isLesion(place) && Number.isFinite(place.height));
    const line = (places, keep, style) => ({ type: "scatter", mode: "lines", x: places.map((place) => place.at), y: places.map((place) => (keep(place) ? place.height : null)), connectgaps: false, ...style });
    const { lateral_unit: lateral } = this.content;
    const traces = [];
    if (lesion.length) traces.push(line(own, isLesion, { name: "lesion", line: { color: this.accent, width: 2.5 }, fill: "tozeroy", fillcolor: "rgba(200,110,80,.22)" }));
    if (around) traces.push(line(around, () => true, { name: "skin", line: { color: this.quiet, width: 1.5 } }));
    else if (own.some((place) => !isLesion(place))) traces.push(line(own, (place) => !isLesion(place), { name: this.mesh.isLesion ? "skin" : "surface", line: { color: this.quiet, width: 1.5 } }));
    const axis = (text) => ({ title: { text, font: { size: 12 } }, color: this.ink, gridcolor: this.grid, zeroline: false });
    await Plotly.react(tool("profile"), traces, {
      margin: { l: 58, r: 12, t: 8, b: 46 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: this.ink },
      xaxis: axis(`${this.across}, ${lateral}`), yaxis: { ...axis(this.heightWords), range: this.ranges.height.map((end, n) => end + (n ? 0.06 : -0.06) * (this.ranges.height[1] - this.ranges.height[0])) },
      legend: { orientation: "h", x: 1, xanchor: "right", y: 1, yanchor: "top", bgcolor: "rgba(0,0,0,0)" }, showlegend: true, hovermode: "x",
    }, { ...PLOTLY, displayModeBar: false });
    tool("profile-words").textContent = this.profileWords(lesion);
  }

  profileWords(lesion) {
    const where = `Profile at ${this.axis} = ${two(this.at)} ${this.content.lateral_unit}`;
    if (!lesion.length) return `${where}.`;
    const width = `${three(lesion.at(-1).at - lesion[0].at)} ${this.content.lateral_unit}`;
    const highest = three(Math.max(...lesion.map((place) => place.height)));
    return `${where}: the lesion is ${width} wide and at most ${highest} ${this.content.is_metric ? "mm high" : "high (relative, no millimetres)"}.`;
  }
}

start().catch((error) => { fail(error.message); throw error; });
