// Fills the choices, draws everything, and draws again what a choice changes.

const DRAW = {
  curve: drawCurve, ranking: drawRanking, "cost-plot": drawCost, performance: drawPerformance, spectra: drawSpectra,
  resolution: drawResolution, reliability: drawReliability, ranks: drawRanks,
};

function draw() {
  for (const [id, figure] of Object.entries(DRAW)) if (byId(id)) figure();
}

function fillScores() {
  const set = setNow();
  for (const id of ["score", "threshold", "lead"]) byId(id).replaceChildren();
  for (const score of set.scores) option(byId("score"), score.key, score.label);
  for (const threshold of set.thresholds) option(byId("threshold"), threshold, `${number(threshold)} ${set.unit}`);
  for (const lead of set.leads) option(byId("lead"), lead, `${number(lead)} min`);
  chosen.score = scoreNow().key;
  byId("score").value = chosen.score;
  byId("threshold").value = set.thresholds[thresholdOf(set)];
  byId("lead").value = set.leads[leadOf(set)];
}

function fillChips() {
  byId("chips").replaceChildren();
  figures.entries.forEach((entry, k) => {
    chip(byId("chips"), entry.name, colourOf(k), chosen.shown.has(k), (ticked) => {
      chosen.shown[ticked ? "add" : "delete"](k);
      sayShown();
      draw();
    });
  });
  sayShown();
}

function sayShown() {
  byId("shown").textContent = `${chosen.shown.size} of ${figures.entries.length}`;
}

function startFigures() {
  if (!figures.sets.length) return;
  figures.sets.forEach((set, k) => option(byId("set"), k, set.label));
  const on = (id, change) => byId(id)?.addEventListener("change", (event) => { change(event.target); draw(); });
  on("set", (select) => { chosen.set = +select.value; fillScores(); });
  on("score", (select) => (chosen.score = select.value));
  on("threshold", (select) => (chosen.threshold = +select.value));
  on("lead", (select) => (chosen.lead = +select.value));
  on("cost", (select) => (chosen.cost = select.value));
  on("relative", (box) => (chosen.relative = box.checked));
  for (const button of document.querySelectorAll("[data-choose]")) {
    button.addEventListener("click", () => {
      const wanted = { all: () => true, none: () => false, best: (entry) => entry.shown }[button.dataset.choose];
      chosen.shown = new Set(figures.entries.flatMap((entry, k) => (wanted(entry) ? [k] : [])));
      fillChips();
      draw();
    });
  }
  fillScores();
  fillChips();
  draw();
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) draw();
    width = innerWidth;
  });
}

startTheme(() => { if (figures.sets.length) { fillChips(); draw(); } });
startTable();
startFigures();
startCases();
document.documentElement.dataset.ready = "yes";
