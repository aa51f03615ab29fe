// The lesion's surface, turned with the mouse: vertex colours from the photograph, or the height.
(async () => {
  const element = document.getElementById("surface");
  const answer = await fetch(element.dataset.mesh);
  if (!answer.ok) { element.textContent = "The surface is not available: " + answer.status; return; }
  const mesh = await answer.json();
  const common = { type: "mesh3d", x: mesh.x, y: mesh.y, z: mesh.z, i: mesh.i, j: mesh.j, k: mesh.k, flatshading: false,
    lighting: { ambient: 0.75, diffuse: 0.5, specular: 0.05, roughness: 0.9 }, hoverinfo: "skip" };
  const traces = [
    { ...common, vertexcolor: mesh.colours },
    { ...common, intensity: mesh.z, colorscale: "Viridis", colorbar: { title: { text: mesh.z_unit } }, visible: false },
  ];
  const buttons = [
    { label: "photograph", method: "restyle", args: ["visible", [true, false]] },
    { label: "height", method: "restyle", args: ["visible", [false, true]] },
  ];
  const ink = getComputedStyle(document.body).color;
  const axis = (text) => ({ title: { text }, color: ink, showbackground: false });
  await Plotly.newPlot(element, traces, {
    margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: "rgba(0,0,0,0)", font: { color: ink },
    scene: { aspectmode: "data", xaxis: axis(`x, ${mesh.lateral_unit}`), yaxis: axis(`y, ${mesh.lateral_unit}`), zaxis: axis(mesh.z_unit),
      camera: { eye: { x: 0, y: -1.9, z: 2.4 } } },
    updatemenus: [{ type: "buttons", direction: "right", x: 0, y: 1, xanchor: "left", yanchor: "top", buttons, font: { color: "#333" } }],
  }, { displaylogo: false, responsive: true });
  element.dataset.drawn = "yes";
})();
