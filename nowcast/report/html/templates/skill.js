// Skill against lead time, the ranking at one lead time, and skill against cost.

function drawCurve() {
  const set = setNow(), score = scoreNow();
  const relative = chosen.relative && score.differences !== null;
  const values = relative ? score.differences : score.values;
  const unit = score.unit ? `, ${score.unit}` : "";
  const minus = relative ? ` minus ${figures.reference}` : "";
  byId("curve-title").textContent = `${score.label}${minus}${ofRain(set, score)}`;
  const traces = [];
  for (const entry of shown()) {
    const line = (bound) => set.leads.map((_, lead) => at(set, score, values, entry, bound, lead));
    const [lower, middle, upper] = [line(0), line(1), line(2)];
    if (middle.every((value) => value === null)) continue;
    const name = text(figures.entries[entry].name);
    if (lower.some((value) => value !== null)) {
      const ends = lower.map((value, k) => (value === null || upper[k] === null ? null : k)).filter((k) => k !== null);
      traces.push({
        x: [...ends.map((k) => set.leads[k]), ...ends.map((k) => set.leads[k]).reverse()],
        y: [...ends.map((k) => lower[k]), ...ends.map((k) => upper[k]).reverse()],
        fill: "toself", fillcolor: faded(colourOf(entry), shown().length > 5 ? 0.08 : 0.16), line: { width: 0 }, mode: "lines",
        hoverinfo: "skip", showlegend: false, legendgroup: String(entry),
      });
    }
    if (score.seeds && !relative) {
      const single = score.seeds[entry].flatMap((seed) => seed.map((value, lead) => [
        set.leads[lead], score.thresholds ? value[thresholdOf(set)] : value,
      ])).filter(([, value]) => value !== null);
      traces.push({
        x: single.map(([lead]) => lead), y: single.map(([, value]) => value), mode: "markers", hoverinfo: "skip",
        marker: { color: colourOf(entry), size: 3 }, showlegend: false, legendgroup: String(entry),
      });
    }
    traces.push({
      ...looks(entry), x: set.leads, y: middle, mode: "lines+markers",
      text: middle.map((value, k) =>
        `${name}<br>${number(set.leads[k])} min: <b>${number(value)}</b><br>${number(lower[k])} to ${number(upper[k])}`),
    });
  }
  const now = set.leads[leadOf(set)];
  plot("curve", traces, {
    height: 430 + below(true), legend: legend(true), showlegend: true,
    xaxis: axis("lead time, minutes", { rangemode: "tozero" }), yaxis: axis(score.label + minus + unit, { zeroline: relative }),
    shapes: [{ type: "line", x0: now, x1: now, yref: "paper", y0: 0, y1: 1, line: { color: styled("soft"), width: 1, dash: "dot" } }],
  });
}

function drawRanking() {
  const set = setNow(), score = scoreNow(), lead = leadOf(set);
  const relative = chosen.relative && score.differences !== null;
  const values = relative ? score.differences : score.values;
  const distance = DISTANCE[score.better];
  const bound = (entry, k) => at(set, score, values, entry, k, lead);
  const order = everyEntry.filter((entry) => bound(entry, 1) !== null);
  const key = (entry) => distance(at(set, score, score.values, entry, 1, lead));
  order.sort((one, other) => key(other) - key(one)); // the best on top
  const colour = (entry) => (chosen.shown.has(entry) ? colourOf(entry) : styled("faint"));
  const sure = (entry) => !relative || bound(entry, 0) > 0 || bound(entry, 2) < 0;
  byId("ranking-title").textContent =
    `${score.label}${relative ? ` minus ${figures.reference}` : ""} after ${number(set.leads[lead])} minutes${ofRain(set, score)}`;
  const sized = order.filter((entry) => bound(entry, 0) !== null);
  const bars = [...new Set(sized.map(colour))].map((one) => {
    const same = sized.filter((entry) => colour(entry) === one);
    return {
      x: same.flatMap((entry) => [bound(entry, 0), bound(entry, 2), null]), mode: "lines", hoverinfo: "skip",
      y: same.flatMap((entry) => [order.indexOf(entry), order.indexOf(entry), null]), line: { color: one, width: 2 },
    };
  });
  const points = {
    x: order.map((entry) => bound(entry, 1)), y: order.map((_, place) => place), mode: "markers", hoverinfo: "text",
    marker: {
      size: 8, color: order.map((entry) => (sure(entry) ? colour(entry) : styled("card"))),
      line: { width: 2, color: order.map(colour) },
    },
    text: order.map((entry) =>
      `${text(figures.entries[entry].name)}<br><b>${number(bound(entry, 1))}</b><br>${number(bound(entry, 0))} to ${number(bound(entry, 2))}`),
  };
  plot("ranking", [...bars, points], {
    height: 90 + 20 * order.length, showlegend: false,
    xaxis: axis(`${score.label}${score.unit ? `, ${score.unit}` : ""}${relative ? "; hollow: the interval holds 0" : ""}`, { zeroline: relative }),
    yaxis: axis("", {
      tickvals: order.map((_, place) => place), ticks: "", range: [-0.7, order.length - 0.3],
      ticktext: order.map((entry) => short(figures.entries[entry].name, narrow() ? 18 : 40)), showgrid: false, zeroline: false,
    }),
  });
}

const COSTS = {
  parameters: "parameters", latency_s: "seconds a forecast", step_ms: "milliseconds a training step",
  train_seconds: "seconds of training",
};

function drawCost() {
  const set = setNow(), score = scoreNow(), lead = leadOf(set);
  byId("cost-title").textContent =
    `${score.label} after ${number(set.leads[lead])} minutes${ofRain(set, score)}, against cost`;
  const value = (entry, bound) => at(set, score, score.values, entry, bound, lead);
  const all = everyEntry.filter((entry) => value(entry, 1) !== null);
  const priced = all.filter((entry) => figures.entries[entry][chosen.cost] > 0);
  const traces = priced.map((entry) => {
    const cost = figures.entries[entry][chosen.cost], grey = !chosen.shown.has(entry);
    const colour = grey ? styled("faint") : colourOf(entry);
    const error = value(entry, 0) === null ? {} : {
      error_y: {
        type: "data", symmetric: false, array: [value(entry, 2) - value(entry, 1)],
        arrayminus: [value(entry, 1) - value(entry, 0)], color: colour, thickness: 1, width: 0,
      },
    };
    return {
      ...looks(entry), x: [cost], y: [value(entry, 1)], mode: "markers", showlegend: !grey,
      marker: { color: colour, size: grey ? 6 : 10, symbol: markerOf(entry) }, ...(grey ? {} : error),
      text: [`${text(figures.entries[entry].name)}<br>${COSTS[chosen.cost]}: ${number(cost)}<br><b>${number(value(entry, 1))}</b>`],
    };
  });
  const without = all.length - priced.length;
  byId("cost-note").textContent =
    without ? `${without} of ${all.length} entries have none of this cost and are not drawn.` : "";
  const prices = priced.map((entry) => figures.entries[entry][chosen.cost]);
  plot("cost-plot", traces, {
    height: 400 + below(true), legend: legend(true), showlegend: true,
    xaxis: logAxis(COSTS[chosen.cost], prices),
    yaxis: axis(score.label + (score.unit ? `, ${score.unit}` : "")),
  });
}
