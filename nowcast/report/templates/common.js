"use strict";
// Shared by all pages: data in the page, colours that follow light and dark, and small controls.

const byId = (id) => document.getElementById(id);
const data = (id) => JSON.parse(byId(id).textContent);

// Colours that colour-blind eyes tell apart (after Okabe and Ito, and Tol), brighter in the dark.
const LIGHT = ["#0072b2", "#d55e00", "#009e73", "#b0408a", "#a6761d", "#4a55c4", "#c2185b", "#4d7c0f"];
const DARK = ["#58b4f0", "#ff8f4a", "#3dd6a3", "#f08fcb", "#e6b84c", "#9aa5ff", "#ff6f9f", "#a5d33c"];
const MARKERS = ["circle", "square", "diamond", "triangle-up", "x", "star", "cross", "triangle-down"];

function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function faded(colour, opacity) {
  return colour + Math.round(opacity * 255).toString(16).padStart(2, "0");
}

// The value of a colour of the style sheet in the present theme.
const known = new Map();
function styled(name) {
  const key = `${name} ${isDark()}`;
  if (!known.has(key)) {
    const probe = document.body.appendChild(document.createElement("i"));
    probe.style.color = `var(--${name})`;
    known.set(key, getComputedStyle(probe).color);
    probe.remove();
  }
  return known.get(key);
}

function option(select, value, text) {
  const made = select.appendChild(document.createElement("option"));
  made.value = value;
  made.textContent = text;
}

// A tick box with a name; `change` is called with whether it is ticked.
function chip(parent, name, colour, ticked, change) {
  const label = parent.appendChild(document.createElement("label"));
  const box = label.appendChild(document.createElement("input"));
  box.type = "checkbox";
  box.checked = ticked;
  box.addEventListener("change", () => change(box.checked));
  if (colour) label.appendChild(document.createElement("i")).style.background = colour;
  label.appendChild(document.createElement("span")).textContent = name;
  return box;
}

function startTheme(redraw) {
  const button = byId("theme");
  const name = () => (button.textContent = isDark() ? "light" : "dark");
  try {
    const stored = localStorage.getItem("nowcast-theme");
    if (stored) document.documentElement.dataset.theme = stored;
  } catch { /* a page from disk may have no storage */ }
  button.setAttribute("aria-label", "switch between light and dark");
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("nowcast-theme", document.documentElement.dataset.theme);
    } catch { /* then it is forgotten */ }
    name();
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { name(); redraw(); });
  name();
}
