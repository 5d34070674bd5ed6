// Observed and forecast frames of a case side by side, moving.

const FRAME_MS = 450, LAST_MS = 1400;
const viewer = { number: 0, frame: 0, timer: null, shown: new Set() };

function startCases() {
  if (!cases.length) return;
  cases.forEach((one, number) => option(byId("case"), number, one.title));
  byId("case").addEventListener("change", (event) => openCase(+event.target.value));
  byId("frame").addEventListener("input", (event) => { pause(); show(+event.target.value); });
  byId("play").addEventListener("click", () => (viewer.timer === null ? play() : pause()));
  const preferred = cases[0].forecasts.filter(({ name }) => figures.entries.some((entry) => entry.name === name && entry.shown));
  viewer.shown = new Set((preferred.length ? preferred : cases[0].forecasts).slice(0, 7).map(({ name }) => name));
  drawBar();
  openCase(0);
}

function openCase(number) {
  viewer.number = number;
  const one = cases[number], notes = [];
  byId("case-chips").replaceChildren();
  for (const { name } of one.forecasts) {
    chip(byId("case-chips"), name, null, viewer.shown.has(name), (ticked) => {
      viewer.shown[ticked ? "add" : "delete"](name);
      drawPanels();
    });
  }
  if (one.averaged > 1) notes.push(`Drawn as means of ${one.averaged} × ${one.averaged} pixels.`);
  if (one.left_out) notes.push(`${one.left_out} more forecasts are in the folder showcase.`);
  notes.push("Until the forecast starts, its panels show what was observed, pale.");
  byId("case-note").textContent = notes.join(" ");
  byId("frame").max = one.minutes.length - 1;
  viewer.frame = one.past.length; // the first forecast
  drawPanels();
}

function drawPanels() {
  const one = cases[viewer.number];
  byId("panels").replaceChildren();
  for (const { name, frames } of [{ name: "observed", frames: one.observed }, ...one.forecasts.filter(({ name }) => viewer.shown.has(name))]) {
    const panel = byId("panels").appendChild(document.createElement("figure"));
    panel.appendChild(document.createElement("figcaption")).textContent = name;
    const image = panel.appendChild(document.createElement("img"));
    image.width = one.width;
    image.height = one.height;
    image.style.height = "auto";
    panel.frames = [...one.past, ...frames];
  }
  show(viewer.frame);
}

function show(frame) {
  const one = cases[viewer.number], minutes = one.minutes[frame], early = frame < one.past.length;
  viewer.frame = frame;
  [...byId("panels").children].forEach((panel, place) => {
    const image = panel.querySelector("img");
    image.src = `data:image/png;base64,${panel.frames[frame]}`;
    image.alt = `${panel.firstChild.textContent} at ${one.clocks[frame]} UTC`;
    panel.classList.toggle("waiting", early && place > 0);
  });
  byId("frame").value = frame;
  byId("frame").setAttribute("aria-valuetext", `${minutes} minutes`);
  byId("clock").textContent = `${minutes > 0 ? "+" : minutes < 0 ? "−" : ""}${Math.abs(minutes)} min · ${one.clocks[frame]} UTC`;
}

function play() {
  const last = cases[viewer.number].minutes.length - 1;
  const next = () => {
    show(viewer.frame >= last ? 0 : viewer.frame + 1);
    viewer.timer = setTimeout(next, viewer.frame === last ? LAST_MS : FRAME_MS);
  };
  byId("play").textContent = "pause";
  byId("play").setAttribute("aria-pressed", "true");
  next();
}

function pause() {
  clearTimeout(viewer.timer);
  viewer.timer = null;
  byId("play").textContent = "play";
  byId("play").setAttribute("aria-pressed", "false");
}

function drawBar() {
  colours.colours.forEach((colour, k) => step(colour, k ? String(colours.rates[k - 1]) : "", ""));
  step(colours.nodata, "no radar; mm/h", "nodata");
}

function step(colour, words, name) {
  const part = byId("bar").appendChild(document.createElement("div"));
  part.className = name;
  part.style.setProperty("--colour", colour);
  part.appendChild(document.createElement("span")).textContent = words;
}
