// The figures of runs: training curves, skill by lead time and sample forecasts of those that the reader chose.

const runs = data("runs-data");
const chosen = {
  shown: new Set(runs.flatMap((run, k) => (run.shown ? [k] : []))),
  metric: "loss",
  "metric-2": "val_loss",
  "metric-3": "learning_rate",
  score: "val_csi_1",
};
const SMALL = 0.02; // a smaller share of the largest value deserves a logarithmic axis

const shown = () => [...chosen.shown].sort((one, other) => one - other);
// The place of a run in the colours: those that are shown at first differ.
const first = runs.map((_, run) => run).sort((one, other) => runs[other].shown - runs[one].shown || one - other);
const colourOf = (run) => (isDark() ? DARK : LIGHT)[first.indexOf(run) % LIGHT.length];
const markerOf = (run) => MARKERS[(first.indexOf(run) + Math.floor(first.indexOf(run) / LIGHT.length)) % MARKERS.length];
const namesOf = (part) => [...new Set(runs.flatMap((run) => Object.keys(run[part])))].sort(byNumber);
const byNumber = (one, other) => one.localeCompare(other, "en", { numeric: true });

// val_csi_1/30min is the CSI of the validation at 1 mm/h after 30 minutes.
function label(name) {
  const [score, minutes] = name.split("/");
  const words = { windows_per_second: "windows / s", data_wait: "share of time waiting for data" }[name]
    || score.replace(/^val_csi_(.+)$/, "CSI ≥ $1 mm/h").replace(/^val_mae$/, "MAE, mm/h").replace(/_gib$/, ", GiB").replace(/_/g, " ");
  return minutes ? `${words} after ${minutes.replace("min", " min")}` : words;
}

function traces(pointsOf) {
  return shown().flatMap((run) => {
    const points = pointsOf(runs[run]);
    if (!points || !points[0].length) return [];
    return [{
      x: points[0], y: points[1], name: short(runs[run].name), type: "scatter",
      mode: points[0].length > 40 ? "lines" : "lines+markers",
      line: { color: colourOf(run), width: 2 }, marker: { color: colourOf(run), size: 6, symbol: markerOf(run) },
      hovertemplate: `${short(runs[run].name)}<br>%{x}: %{y:.4g}<extra></extra>`,
    }];
  });
}

function drawLines(id, lines, across, up, logarithmic) {
  plot(id, lines, {
    xaxis: axis(across), yaxis: axis(up, logarithmic ? { type: "log" } : {}), height: 300,
    showlegend: false, margin: { l: 60, r: 12, t: 10, b: 44 },
  });
}

function drawCurve(id, name) {
  const lines = traces((run) => run.curves[name]);
  const values = lines.flatMap((line) => line.y);
  const logarithmic = /loss|norm/.test(name) && Math.min(...values) > 0 && Math.min(...values) < SMALL * Math.max(...values);
  drawLines(id, lines, "step", label(name), logarithmic);
}

function drawLeads() {
  const lines = traces((run) => {
    const points = run.leads[chosen.score];
    return points && [points.map((point) => point[0]), points.map((point) => point[1])];
  });
  drawLines("leads", lines, "lead time, minutes", label(chosen.score), false);
}

function drawPictures() {
  const there = shown().filter((run) => runs[run].sample);
  byId("pictures").replaceChildren(...there.map((run) => {
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    figure.className = "card";
    caption.textContent = `${runs[run].name}, epoch ${runs[run].epoch}`;
    const image = document.createElement("img");
    image.src = runs[run].sample;
    image.alt = `observed and forecast rain of validation cases, ${runs[run].name}`;
    figure.append(caption, image);
    return figure;
  }));
  byId("no-pictures").hidden = there.length > 0;
}

function draw() {
  drawCurve("curve", chosen.metric);
  drawCurve("curve-2", chosen["metric-2"]);
  drawCurve("curve-3", chosen["metric-3"]);
  drawLeads();
}

function drawAll() {
  byId("shown").textContent = `${chosen.shown.size} of ${runs.length}`;
  draw();
  drawPictures();
}

function fillChips() {
  byId("chips").replaceChildren();
  runs.forEach((run, k) => {
    chip(byId("chips"), run.name, colourOf(k), chosen.shown.has(k), (ticked) => {
      chosen.shown[ticked ? "add" : "delete"](k);
      drawAll();
    });
  });
}

function fillChoice(id, names) {
  for (const name of names) option(byId(id), name, label(name));
  if (!names.includes(chosen[id])) chosen[id] = names[0] || "";
  byId(id).value = chosen[id];
  byId(id).addEventListener("change", (event) => { chosen[id] = event.target.value; draw(); });
}

// A page that reads itself anew forgets nothing.
const KEPT = `nowcast-runs ${location.pathname}`;
function keep() {
  const names = [...chosen.shown].map((run) => runs[run].name);
  try {
    sessionStorage.setItem(KEPT, JSON.stringify({ ...chosen, shown: names }));
  } catch { /* then it is forgotten */ }
}
try {
  const kept = JSON.parse(sessionStorage.getItem(KEPT));
  if (kept) Object.assign(chosen, kept, { shown: new Set(runs.flatMap((run, k) => (kept.shown.includes(run.name) ? [k] : []))) });
} catch { /* a page from disk may have no storage */ }
addEventListener("pagehide", keep);

fillChoice("metric", namesOf("curves"));
fillChoice("metric-2", namesOf("curves"));
fillChoice("metric-3", namesOf("curves"));
fillChoice("score", namesOf("leads"));
for (const button of document.querySelectorAll("[data-choose]")) {
  button.addEventListener("click", () => {
    const wanted = { all: () => true, none: () => false, newest: (run) => run.shown }[button.dataset.choose];
    chosen.shown = new Set(runs.flatMap((run, k) => (wanted(run) ? [k] : [])));
    fillChips();
    drawAll();
  });
}
startTheme(() => { fillChips(); draw(); });
startTable();
fillChips();
drawAll();
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== width) draw();
  width = innerWidth;
});
document.documentElement.dataset.ready = "yes";
