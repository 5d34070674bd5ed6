// What the figures of this page have in common.

const shown = () => [...chosen.shown].sort((one, other) => one - other);
const setNow = () => figures.sets[chosen.set];
const nearest = (values, wanted) =>
  values.reduce((best, value, k) => (Math.abs(value - wanted) < Math.abs(values[best] - wanted) ? k : best), 0);
const leadOf = (set) => (chosen.lead === Infinity ? set.leads.length - 1 : nearest(set.leads, chosen.lead));
const thresholdOf = (set) => nearest(set.thresholds, chosen.threshold);
const scoreNow = () => setNow().scores.find((score) => score.key === chosen.score) || setNow().scores[0];
const find = (set, key) => set.scores.find((score) => score.key === key);

// The value of a score at (entry, bound, lead time), at the chosen threshold where it has one.
const at = (set, score, values, entry, bound, lead) => {
  const value = values[entry][bound][lead];
  return score.thresholds ? value[thresholdOf(set)] : value;
};

function ofRain(set, score) {
  return score && !score.thresholds ? "" : `, rain of at least ${number(set.thresholds[thresholdOf(set)])} ${set.unit}`;
}

// An axis over values, with ticks at round numbers: logarithmic, unless they hardly differ.
function logAxis(title, values, more = {}) {
  const found = values.filter((value) => value > 0), [low, high] = [Math.min(...found), Math.max(...found)];
  if (!(high > 2 * low)) return axis(title, more);
  const digits = high > 1e4 * low ? [1] : high > 5 * low ? [1, 2, 5] : [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8];
  const decades = Array.from({ length: 30 }, (_, k) => 10 ** (k - 12));
  const tickvals = decades.flatMap((decade) => digits.map((digit) => +(digit * decade).toPrecision(2)));
  return axis(title, { type: "log", tickvals, ticktext: tickvals.map(rounded), ...more });
}

// Room for a legend below, in pixels.
function below(beside) {
  if (beside && !narrow()) return 0;
  const longest = Math.max(8, ...shown().map((entry) => Math.min(figures.entries[entry].name.length, 34)));
  const width = narrow() ? innerWidth - 70 : 480;
  return Math.ceil((shown().length + 1) / Math.max(Math.floor(width / (50 + 6 * longest)), 1)) * 17;
}

// How a line of an entry looks.
function looks(entry) {
  return {
    name: short(figures.entries[entry].name), legendgroup: String(entry), hoverinfo: "text",
    line: { color: colourOf(entry), width: 2, dash: isBaseline(entry) ? DASHES[slots[entry] % DASHES.length] : "solid" },
    marker: { color: colourOf(entry), size: 7, symbol: markerOf(entry) },
  };
}
