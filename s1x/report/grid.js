// Questions by cells, coloured by how they came out: a canvas for each cell of the task, a column for each question.
const HEIGHT = 16, WIDEST = 18, PIXELS = 16000; // the last: as wide as a canvas may be
const grid = { questions: [], column: new Map(), cells: [], rows: [], pitch: WIDEST, marked: null, kept: new Set() };

// How the traces of a question in a cell came out: {right, wrong, silent} (shares) and forced (whether any end was)
function outcome(traces) {
  const shares = { right: 0, wrong: 0, silent: 0 };
  const kind = t => (right(t[SCORE]) ? "right" : t[EXTRACTED] === null ? "silent" : "wrong");
  for (const t of traces) shares[kind(t)] += 1 / traces.length;
  return { ...shares, forced: traces.some(t => t[END] === "forced") };
}

const found = data.traces.map(rows => {
  const by = new Map();
  for (const t of rows) by.has(t[QUESTION]) ? by.get(t[QUESTION]).push(t) : by.set(t[QUESTION], [t]);
  return by;
});
const outcomes = found.map(by => new Map([...by].map(([question, traces]) => [question, outcome(traces)])));

// Lay out the grid of the task that `cell` is of; `choose(cell, question)` is called for what is clicked.
function layout(cell, choose) {
  grid.cells = data.cells.map((_, i) => i).filter(i => data.tasks[i] === data.tasks[cell]);
  const all = [...new Set(grid.cells.flatMap(i => [...outcomes[i].keys()]))].sort((a, b) => a - b);
  if (at("order").value === "hard") {
    const solved = new Map(all.map(q => [q, grid.cells.reduce((sum, i) => sum + (outcomes[i].get(q)?.right ?? 0), 0)]));
    all.sort((a, b) => solved.get(b) - solved.get(a) || a - b);
  }
  grid.questions = all;
  grid.column = new Map(all.map((q, i) => [q, i]));
  at("grid").replaceChildren();
  grid.rows = grid.cells.map(i => {
    const name = add(at("grid"), "div", data.cells[i].replace(`${data.tasks[i]} · `, ""));
    name.onclick = () => choose(i, null);
    const canvas = add(at("grid"), "canvas");
    const under = event => all[Math.floor(event.offsetX / grid.pitch)];
    canvas.onclick = event => under(event) !== undefined && choose(i, under(event));
    canvas.onmousemove = event => hover(i, under(event));
    canvas.onmouseleave = () => (at("hover").textContent = "");
    return { cell: i, name, canvas };
  });
  paint();
}

function hover(cell, question) {
  at("hover").replaceChildren();
  for (const t of found[cell].get(question) ?? []) {
    add(at("hover"), "bdi", short(data.questions[question][0]));
    add(at("hover"), "span", " → ");
    answer(at("hover"), t[EXTRACTED], t[SCORE]);
  }
}

function short(text, most = 60) {
  const line = text.slice(0, 400).replace(/\s+/g, " ");
  return line.length > most ? line.slice(0, most) + "…" : line;
}

// `marked`: [cell, question] that is shown; `kept`: the questions that pass the filters, the others are faint
function paint(marked = grid.marked, kept = grid.kept) {
  Object.assign(grid, { marked, kept });
  if (!grid.questions.length) return;
  const names = grid.rows.map(row => row.name.offsetWidth), room = at("grid").clientWidth - Math.max(...names) - 24;
  const scale = window.devicePixelRatio || 1, n = grid.questions.length, style = getComputedStyle(document.documentElement);
  const colour = name => style.getPropertyValue(`--${name}`).trim();
  grid.pitch = Math.min(WIDEST, Math.max(Math.floor(room / n), 2 * n * scale < PIXELS ? 2 : 1));
  const gap = grid.pitch > 3 ? 1 : 0;
  for (const { cell, name, canvas } of grid.rows) {
    name.classList.toggle("now", cell === marked?.[0]);
    canvas.width = Math.ceil(n * grid.pitch * scale);
    canvas.height = HEIGHT * scale;
    canvas.style.width = `${n * grid.pitch}px`;
    canvas.style.height = `${HEIGHT}px`;
    const to = canvas.getContext("2d");
    to.scale(scale, scale);
    grid.questions.forEach((q, i) => {
      const came = outcomes[cell].get(q);
      if (!came) return;
      let y = 0;
      to.globalAlpha = kept.has(q) ? 1 : 0.25;
      for (const kind of ["right", "wrong", "silent"]) {
        to.fillStyle = colour(kind);
        to.fillRect(i * grid.pitch, y, grid.pitch - gap, came[kind] * HEIGHT);
        y += came[kind] * HEIGHT;
      }
      if (came.forced) {
        to.fillStyle = colour("forced");
        to.fillRect(i * grid.pitch, HEIGHT - 3, grid.pitch - gap, 3);
      }
    });
    const column = marked?.[0] === cell ? grid.column.get(marked[1]) : undefined;
    if (column === undefined) continue;
    to.globalAlpha = 1;
    to.strokeStyle = colour("ink");
    to.lineWidth = 2;
    to.strokeRect(column * grid.pitch + 1, 1, Math.max(grid.pitch - gap - 2, 2), HEIGHT - 2);
  }
}

addEventListener("resize", () => paint());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => paint());
