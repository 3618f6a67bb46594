// The trace browser: filters, the list of questions, the grid, keys, and the address (#trace=cell,question,repeat).
let rows = [];
const tests = {
  all: () => true,
  right: t => right(t[SCORE]),
  wrong: t => !right(t[SCORE]),
  silent: t => t[EXTRACTED] === null,
  forced: t => t[END] === "forced",
};
const cell = () => at("cell").selectedIndex;
const current = () => rows[at("item").selectedIndex];

// Everything of a trace that can be looked for, in small letters
const words = new Map();
function text(t) {
  if (!words.has(t)) {
    const { members, nodes } = t[POOL] || { members: [], nodes: null };
    const lists = [t[SEGMENTS] || [], ...members.map(m => m[LIST] || [])].flat().map(segment => segment[2]);
    const answers = [...data.questions[t[QUESTION]], t[EXTRACTED], ...members.map(m => m[ANSWER])];
    words.set(t, [...answers, ...lists, ...(nodes || []).map(node => node[4])].join("\n").toLowerCase());
  }
  return words.get(t);
}

function fill(wanted = current()) {
  const want = tests[at("filter").value], other = at("other").selectedIndex - 1, also = tests[at("also").value];
  const sought = at("find").value.trim().toLowerCase();
  at("also").hidden = other < 0;
  const there = t => other < 0 || (found[other]?.get(t[QUESTION]) ?? []).some(o => o[REPEAT] === t[REPEAT] && also(o));
  rows = data.traces[cell()].filter(t => want(t) && there(t) && (!sought || text(t).includes(sought)));
  const list = document.createDocumentFragment();
  for (const t of rows) {
    const again = t[REPEAT] ? `(${t[REPEAT] + 1}) ` : "";
    add(list, "option", (right(t[SCORE]) ? "✓ " : "✗ ") + again + short(data.questions[t[QUESTION]][0]));
  }
  at("item").replaceChildren(list);
  const same = wanted ? rows.findIndex(t => t[QUESTION] === wanted[QUESTION] && t[REPEAT] === wanted[REPEAT]) : 0;
  at("item").selectedIndex = Math.max(same, 0);
  grid.kept = new Set(rows.map(t => t[QUESTION]));
  show();
}

function show() {
  const i = at("item").selectedIndex, t = rows[i];
  at("count").textContent = rows.length ? `${count(i + 1)} of ${count(rows.length)}` : "none";
  for (const id of ["question", "trace", "verdict"]) at(id).replaceChildren();
  paint(t ? [cell(), t[QUESTION]] : null);
  if (!t) return;
  const [question, target, id] = data.questions[t[QUESTION]];
  at("question").textContent = question || `doc_id ${id}`;
  add(at("verdict"), "b", right(t[SCORE]) ? "Correct" : "Wrong", right(t[SCORE]) ? "up" : "down");
  add(at("verdict"), "span", ": answered ");
  add(at("verdict"), "bdi", t[EXTRACTED] ?? "nothing");
  add(at("verdict"), "span", ", expected ");
  add(at("verdict"), "bdi", target);
  const end = t[POOL] ? "" : ends[t[END]], tokens = `${count(t[THINKING])} thinking tokens`;
  const facts = [tokens, end, t[WAITS] ? `end ignored ${t[WAITS]} times` : ""];
  add(at("verdict"), "span", `. ${facts.filter(Boolean).join("; ")}.`);
  if (at("beside").checked) beside(at("trace"), t);
  else draw(at("trace"), t);
  try {
    history.replaceState(null, "", `#trace=${cell()},${t[QUESTION]},${t[REPEAT]}`);
  } catch {} // a page inside another one has no address of its own, and some browsers allow only so many changes
}

// The same question in all cells: what they have in common once, then where they part
function beside(parent, t) {
  const same = i => (found[i].get(t[QUESTION]) ?? []).filter(o => o[REPEAT] === t[REPEAT]);
  const group = grid.cells.flatMap(i => same(i).map(o => ({ list: o[SEGMENTS] ?? [], leaf: [i, o] })));
  tree(parent, merged(group), (item, leaves) => {
    const box = add(item, "div", "", "leaf");
    for (const [i, o] of leaves) {
      const line = add(box, "div");
      add(line, "b", data.cells[i].replace(`${data.tasks[i]} · `, "") + ": ");
      answer(line, o[EXTRACTED], o[SCORE]);
      add(line, "span", ` ${count(o[THINKING])} thinking tokens`, "soft");
    }
  });
}

// Show a trace, and where the filters hide it, without them
function choose(to, question, repeat = 0) {
  const moved = data.tasks[to] !== data.tasks[cell()], wanted = [];
  wanted[QUESTION] = question ?? current()?.[QUESTION];
  wanted[REPEAT] = question === null ? current()?.[REPEAT] : repeat;
  at("cell").selectedIndex = to;
  if (moved) layout(to, choose);
  fill(wanted);
  if (question === null || current()?.[QUESTION] === question) return;
  at("filter").value = "all";
  at("other").selectedIndex = 0;
  at("find").value = "";
  fill(wanted);
}

function go(by) {
  at("item").selectedIndex = Math.min(Math.max(at("item").selectedIndex + by, 0), rows.length - 1);
  show();
}

function follow() {
  const [to, question, repeat] = (location.hash.match(/^#trace=(\d+),(\d+),(\d+)$/) ?? []).slice(1).map(Number);
  if (!found[to]?.has(question)) return false;
  choose(to, question, repeat);
  return true;
}

for (const name of data.cells) {
  add(at("cell"), "option", name);
  add(at("other"), "option", name);
}
at("cell").onchange = () => { layout(cell(), choose); fill(); };
for (const id of ["filter", "other", "also", "beside"]) at(id).onchange = () => fill();
at("find").oninput = () => fill();
at("order").onchange = () => layout(cell(), choose);
at("item").onchange = show;
at("back").onclick = () => go(-1);
at("next").onclick = () => go(1);
addEventListener("hashchange", follow);
addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  const [by, over] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
  if (by) go(by);
  const inside = at("grid").contains(event.target), to = grid.cells[grid.cells.indexOf(cell()) + over];
  if (over && inside && to !== undefined) choose(to, null);
  if (by || (over && inside)) event.preventDefault();
});
layout(cell(), choose);
follow() || fill();
