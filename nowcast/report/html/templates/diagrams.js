// Performance diagram, spectra, effective resolution, reliability and ranks.

const CSI_CURVES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
const BIAS_RAYS = [0.25, 0.5, 1, 2, 4];

// Roebber 2009, doi:10.1175/2008WAF2222159.1
function drawPerformance() {
  const set = setNow(), lead = leadOf(set), pod = find(set, "pod"), far = find(set, "far");
  if (!pod || !far) return;
  byId("performance-title").textContent = `Performance after ${number(set.leads[lead])} minutes${ofRain(set)}`;
  const background = { mode: "lines", hoverinfo: "skip", showlegend: false, line: { color: styled("line"), width: 1 } };
  const note = (x, y, words) => ({
    x, y, text: words, showarrow: false, font: { size: 10, color: styled("soft") }, bgcolor: styled("card"), borderpad: 1,
  });
  const traces = [], notes = [];
  for (const csi of CSI_CURVES) {
    const x = Array.from({ length: 60 }, (_, k) => csi + ((1 - csi) * k) / 59);
    traces.push({ ...background, x, y: x.map((success) => 1 / (1 / csi - 1 / success + 1)) });
    const middle = (2 * csi) / (1 + csi);
    notes.push(note(middle, middle, String(csi)));
  }
  for (const bias of BIAS_RAYS) {
    const end = Math.min(1, 1 / bias);
    traces.push({ ...background, x: [0, end], y: [0, bias * end], line: { ...background.line, dash: "dot" } });
    notes.push(note(end, bias * end, `×${bias}`));
  }
  for (const entry of shown()) {
    const detected = set.leads.map((_, k) => at(set, pod, pod.values, entry, 1, k));
    const success = set.leads.map((_, k) => {
      const share = at(set, far, far.values, entry, 1, k);
      return share === null ? null : 1 - share;
    });
    if (detected[lead] === null && success[lead] === null) continue;
    const style = looks(entry);
    traces.push({ ...style, x: success, y: detected, mode: "lines", hoverinfo: "skip", showlegend: false, opacity: 0.5, line: { ...style.line, width: 1.2 } });
    traces.push({
      ...style, x: [success[lead]], y: [detected[lead]], mode: "markers", marker: { ...style.marker, size: 11 },
      text: [`${text(figures.entries[entry].name)}<br>POD <b>${number(detected[lead])}</b>, 1 − FAR <b>${number(success[lead])}</b>`],
    });
  }
  plot("performance", traces, {
    height: 440 + below(false), legend: legend(false), showlegend: true, annotations: notes,
    xaxis: axis("1 − FAR", { range: [0, 1.04], dtick: 0.2, zeroline: false, showgrid: false }),
    yaxis: axis("POD", { range: [0, 1.04], dtick: 0.2, zeroline: false, showgrid: false }),
  });
}

function drawSpectra() {
  const { wavelengths, forecast, observed } = figures.spectra, set = figures.sets[0], lead = leadOf(set);
  byId("spectra-title").textContent = `Power spectra after ${number(set.leads[lead])} minutes`;
  const line = (power, words) => power.map((value, k) => `${words}<br>${number(wavelengths[k])} km: <b>${number(value)}</b>`);
  const traces = [{
    x: wavelengths, y: observed[lead], name: "observed", mode: "lines", line: { color: styled("ink"), width: 3 },
    hoverinfo: "text", text: line(observed[lead], "observed"),
  }];
  for (const entry of shown()) {
    const power = forecast[entry][lead];
    if (power.every((value) => value === null)) continue;
    traces.push({ ...looks(entry), x: wavelengths, y: power, mode: "lines", text: line(power, text(figures.entries[entry].name)) });
  }
  // Far below the observed power there is nothing to see.
  const powers = observed[lead].filter((value) => value > 0).map(Math.log10);
  plot("spectra", traces, {
    height: 440 + below(false), legend: legend(false), showlegend: true,
    xaxis: logAxis("wavelength, km", wavelengths, { autorange: "reversed" }),
    yaxis: axis("power, mm²/h²", {
      type: "log", exponentformat: "power", dtick: 1,
      ...(powers.length ? { range: [Math.min(...powers) - 2, Math.max(...powers) + 0.6] } : {}),
    }),
  });
}

function drawResolution() {
  const set = figures.sets[0], score = find(set, "effective_resolution");
  if (!score) return;
  const traces = shown().map((entry) => {
    const line = set.leads.map((_, lead) => at(set, score, score.values, entry, 1, lead));
    return {
      ...looks(entry), x: set.leads, y: line, mode: "lines+markers",
      text: line.map((value, k) => `${text(figures.entries[entry].name)}<br>${number(set.leads[k])} min: <b>${number(value)} km</b>`),
    };
  });
  plot("resolution", traces, {
    height: 400 + below(false), legend: legend(false), showlegend: true,
    xaxis: axis("lead time, minutes", { rangemode: "tozero" }), yaxis: logAxis("wavelength, km", traces.flatMap(({ y }) => y)),
  });
}

// The chosen ones of the entries that have a diagram, or the best of them when none is.
function drawn(part) {
  const both = part.entries.filter((entry) => chosen.shown.has(entry));
  return both.length ? both : part.entries.slice(0, 4);
}

function drawReliability() {
  const set = figures.sets[0], lead = leadOf(set), threshold = thresholdOf(set), part = figures.probability;
  byId("reliability-title").textContent = `Reliability after ${number(set.leads[lead])} minutes${ofRain(set)}`;
  const traces = [{
    x: [0, 1], y: [0, 1], mode: "lines", hoverinfo: "skip", showlegend: false, line: { color: styled("soft"), width: 1, dash: "dash" },
  }];
  for (const entry of drawn(part)) {
    const [lower, middle, upper] = part.observed_frequency[entry].map((bound) => bound[lead][threshold]);
    const chance = part.mean_probability[entry][lead][threshold], count = part.probability_count[entry][lead][threshold];
    const total = count.reduce((sum, value) => sum + value, 0), style = looks(entry);
    const words = chance.map((value, k) =>
      `${text(figures.entries[entry].name)}<br>forecast ${number(value)}, seen <b>${number(middle[k])}</b><br>${number(lower[k])} to ${number(upper[k])}; ${number((100 * count[k]) / total)} % of pixels`);
    const ends = (end) => middle.map((value, k) => (end[k] === null || value === null ? 0 : Math.abs(end[k] - value)));
    traces.push({
      ...style, x: chance, y: middle, mode: "lines+markers", text: words,
      error_y: { type: "data", symmetric: false, array: ends(upper), arrayminus: ends(lower), color: colourOf(entry), thickness: 1, width: 0 },
    });
    traces.push({
      ...style, x: chance, y: count.map((value) => (value ? value / total : null)), yaxis: "y2", mode: "lines+markers", showlegend: false,
      marker: { ...style.marker, size: 4 }, line: { ...style.line, width: 1 }, text: words,
    });
  }
  plot("reliability", traces, {
    height: 460 + below(false), legend: legend(false), showlegend: true,
    xaxis: axis("forecast probability", { range: [-0.02, 1.02], anchor: "y2" }),
    yaxis: axis("observed frequency", { range: [-0.02, 1.02], domain: [0.3, 1] }),
    yaxis2: axis("share", { type: "log", domain: [0, 0.22], exponentformat: "power", dtick: 1 }),
  });
}

function drawRanks() {
  const set = figures.sets[0], lead = leadOf(set), part = figures.ranks;
  byId("ranks-title").textContent = `Rank of the observed rate after ${number(set.leads[lead])} minutes`;
  const traces = drawn(part).map((entry) => {
    const shares = part.shares[entry][lead];
    return {
      ...looks(entry), type: "bar", x: shares.map((_, k) => k), y: shares, marker: { color: colourOf(entry) },
      text: shares.map((share, k) => `${text(figures.entries[entry].name)}<br>above ${k} members: <b>${number(share)}</b>`), textposition: "none",
    };
  });
  plot("ranks", traces, {
    height: 380 + below(false), legend: legend(false), showlegend: true, barmode: "group",
    xaxis: axis("members below the observed rate", { dtick: 1 }), yaxis: axis("share of pixels"),
  });
}
