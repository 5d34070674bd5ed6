// A table: sorted by a click on a head, filtered by words and kind. Failed rows stay at the end.

const DISTANCE = {
  high: (value) => -value,
  low: (value) => value,
  none: (value) => value,
  zero: Math.abs,
  one: (value) => (value > 0 ? Math.abs(Math.log(value)) : Infinity),
};

function startTable() {
  const board = byId("board");
  const heads = [...board.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => sortBy(board, heads, column)));
  byId("filter").addEventListener("input", () => filterRows(board));
  byId("kind").addEventListener("change", () => filterRows(board));
  addEventListener("hashchange", openTarget);
  openTarget();
}

// First the best on top, then the worst.
function sortBy(board, heads, column) {
  const head = heads[column];
  const reversed = head.dataset.reversed === "false";
  heads.forEach((other) => { other.removeAttribute("aria-sort"); delete other.dataset.reversed; });
  head.dataset.reversed = reversed;
  const falls = (head.dataset.better === "high") !== reversed;
  head.setAttribute("aria-sort", falls ? "descending" : "ascending");
  const rows = [...board.tBodies[0].rows].sort((one, other) => compare(one, other, column, head.dataset.better, reversed));
  board.tBodies[0].append(...rows);
}

function compare(one, other, column, better, reversed) {
  const failed = one.classList.contains("failed") - other.classList.contains("failed");
  const values = [one, other].map((row) => row.cells[column].dataset.value);
  const empty = (values[0] === "") - (values[1] === "");
  if (failed || empty) return failed || empty;
  const order = better === "text"
    ? values[0].localeCompare(values[1], "en", { numeric: true })
    : DISTANCE[better](+values[0]) - DISTANCE[better](+values[1]) || 0;
  return reversed ? -order : order;
}

function filterRows(board) {
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const kind = byId("kind").value;
  const rows = [...board.tBodies[0].rows];
  for (const row of rows) {
    const text = row.textContent.toLowerCase() + " " + row.dataset.kind + " " + row.className;
    row.hidden = Boolean(kind && row.dataset.kind !== kind) || !words.every((word) => text.includes(word));
  }
  const left = rows.filter((row) => !row.hidden).length;
  byId("count").textContent = left === rows.length ? `${rows.length} rows` : `${left} of ${rows.length} rows`;
}

// A link to an entry opens its details.
function openTarget() {
  const target = location.hash && byId(location.hash.slice(1));
  if (target && target.matches("details")) target.open = true;
}
