// What the page holds, what the reader chose, and the colours of entries.

const figures = data("figures-data");
const cases = data("cases-data");
const colours = data("colours-data");

const chosen = {
  set: 0,
  score: "csi",
  threshold: 1,
  lead: Infinity,
  cost: "parameters",
  relative: false,
  shown: new Set(figures.entries.flatMap((entry, k) => (entry.shown ? [k] : []))),
};

// Baselines are grey and brown, and dashed.
const BASELINES = { light: ["#30363d", "#7d8791", "#8d6e52", "#5c7f96"], dark: ["#f0f3f6", "#8b96a3", "#cda67f", "#8fb3ca"] };
const DASHES = ["dash", "dot", "dashdot", "longdash", "longdashdot"];

// The place of an entry in its colours: those that are shown at first differ as far as there are enough.
const isBaseline = (entry) => figures.entries[entry].kind === "baseline";
const everyEntry = figures.entries.map((_, entry) => entry);
const first = [...everyEntry].sort((one, other) => figures.entries[other].shown - figures.entries[one].shown);
const slots = everyEntry.map((entry) => first.filter((one) => isBaseline(one) === isBaseline(entry)).indexOf(entry));

function colourOf(entry) {
  const [light, dark] = isBaseline(entry) ? [BASELINES.light, BASELINES.dark] : [LIGHT, DARK];
  return (isDark() ? dark : light)[slots[entry] % light.length];
}

function markerOf(entry) {
  const slot = slots[entry];
  return MARKERS[(slot + Math.floor(slot / LIGHT.length)) % MARKERS.length];
}
