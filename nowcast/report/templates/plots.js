// What figures of all pages have in common.

const narrow = () => innerWidth < 640;
const text = (words) => words.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;"); // Plotly reads some HTML
const number = (value) => (value === null || value === undefined ? "–" : String(+value.toPrecision(4)));
// Long names often differ at the end only, so they are cut in the middle, or at the front for little room.
function short(name, most = 34) {
  const head = most < 24 ? 0 : Math.floor(most / 3);
  return text(name.length > most ? `${name.slice(0, head)}…${name.slice(name.length - most + head + 1)}` : name);
}

function axis(title, more = {}) {
  return {
    title: { text: text(title), font: { size: 12 } },
    gridcolor: styled("grid"), zerolinecolor: styled("line"), linecolor: styled("line"), ticks: "outside",
    tickcolor: styled("line"), automargin: true, ...more,
  };
}

function rounded(value) {
  if (value >= 1e6) return `${value / 1e6} M`;
  return value >= 1e3 ? `${value / 1e3} k` : String(value);
}

function layout(more) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true, hovermode: "closest",
    font: { color: styled("ink"), size: 12, family: getComputedStyle(document.body).fontFamily },
    margin: { l: narrow() ? 44 : 60, r: narrow() ? 8 : 20, t: 10, b: 44 },
    hoverlabel: { bgcolor: styled("card"), bordercolor: styled("line"), font: { color: styled("ink") }, align: "left" },
    ...more,
  };
}

// A legend beside a wide figure, below one that is not.
function legend(beside) {
  return beside && !narrow()
    ? { x: 1.01, y: 1, font: { size: 11 } }
    : { orientation: "h", x: 0, xanchor: "left", y: -0.17, yanchor: "top", font: { size: 10 }, itemwidth: 30 };
}

function plot(id, traces, more) {
  Plotly.react(id, traces, layout(more), { responsive: true, displaylogo: false, displayModeBar: false });
}
