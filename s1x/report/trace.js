"use strict";
// One trace: its segments, the samples of a pool, or a tree (of a search; of all cells). Text is only ever set as text.
const data = JSON.parse(document.getElementById("data").textContent);
const at = id => document.getElementById(id);
const [QUESTION, REPEAT, SCORE, EXTRACTED, END, WAITS, THINKING, SEGMENTS, POOL] = Array(9).keys();
const [ANSWER, RIGHT, REWARD, WEIGHT, TOKENS, NODE, LIST] = Array(7).keys(); // of a sample in a pool
const ends = {
  natural: "the model ended its thinking", forced: "the budget ended its thinking", context: "the context was full",
  none: "no separate thinking",
};
const right = score => score >= 0.5;
const count = n => (n === null ? "unknown" : n.toLocaleString("en"));

function add(parent, tag, text = "", name = "") {
  const node = document.createElement(tag);
  node.textContent = text;
  if (name) node.className = name;
  parent.append(node);
  return node;
}

function segments(parent, list) {
  const box = add(parent, "div", "", "text");
  for (const [kind, n, text, role] of list) {
    const span = add(box, "span", text, data.kinds[kind]);
    span.title = (role || data.kinds[kind]) + (n === null ? "" : `, ${n} tokens`);
    if (n !== null) add(box, "small", ` ${role ? `${role} ` : ""}${count(n)} `, "n");
  }
}

// "42 ✓" of an answer: what a model wrote stands in an element of its own, whatever direction it is written in
function answer(parent, text, score) {
  add(parent, "bdi", text === null ? "no answer" : text);
  add(parent, "span", right(score) ? " ✓" : " ✗", right(score) ? "up" : "down");
}

function draw(parent, t) {
  parent.replaceChildren();
  const id = data.questions[t[QUESTION]][2];
  const elsewhere = `The text of this trace is not on the page; it is in the samples file (doc_id ${id}).`;
  if (!t[SEGMENTS]) return void add(parent, "p", elsewhere, "soft");
  const pool = t[POOL];
  if (!pool) return segments(parent, t[SEGMENTS]);
  const why = add(parent, "p");
  why.id = "why";
  add(why, "bdi", pool.why);
  (pool.nodes ? search : samples)(parent, pool);
  if (!t[SEGMENTS].length) return;
  add(parent, "p", "Written beside them:", "soft");
  segments(parent, t[SEGMENTS]);
}

function samples(parent, pool) {
  parent = add(parent, "div", "", "samples");
  pool.members.forEach((m, i) => {
    const counts = pool.counted.includes(i), box = add(parent, "details", "", counts ? "sample counted" : "sample");
    head(add(box, "summary"), `Sample ${i + 1}: `, m, counts);
    box.open = i === pool.counted[0];
    if (m[LIST]) segments(box, m[LIST]);
    else add(box, "p", "Its text is in the samples file.", "soft");
  });
}

function head(parent, name, m, counts) {
  add(parent, "span", name);
  answer(parent, m[ANSWER], m[RIGHT]);
  const reward = m[REWARD] === null ? "" : `reward ${m[REWARD].toFixed(3)}`;
  const tokens = m[TOKENS] === null ? "" : `${count(m[TOKENS])} tokens`;
  const weight = m[WEIGHT] === null ? "" : `weight ${Number(m[WEIGHT].toPrecision(4))}`;
  add(parent, "span", " " + [reward, weight, tokens].filter(Boolean).join(", "), "soft");
  if (counts) add(parent, "span", " counts", "counts");
}

function search(parent, pool) {
  const root = { kids: [], leaves: [], depth: 0 }, nodes = [];
  for (const [up, value, worth, tokens, text] of pool.nodes) {
    const above = up < 0 ? root : nodes[up], own = value !== null || text; // one of several trees is no step
    const list = own ? [[0, null, text.replace(/^\n+|\n+$/g, "")]] : [], depth = above.depth + (own ? 1 : 0);
    const node = { above, value, worth, tokens, depth, segments: list, kids: [], leaves: [], drawn: 1, kept: 0, whole: 0 };
    above.kids.push(node);
    nodes.push(node);
  }
  pool.members.forEach((m, i) => {
    const last = m[NODE] < 0 ? root : nodes[m[NODE]];
    last.leaves.push(i);
    for (let node = last; node; node = node.above) {
      node.alive = true;
      node.whole = 1;
      node.best ||= pool.counted.includes(i);
    }
  });
  for (const node of nodes) node.kept = node.kids.length || node.leaves.length ? 1 : 0;
  const steps = nodes.filter(node => node.depth > node.above.depth), alive = steps.filter(node => node.alive).length;
  gather(root);
  const legend = "Bold: what the scorer says of a step; equal steps stand there once.";
  const grown = `${count(steps.length)} steps were grown`, ends = `the ${count(pool.members.length)} chains at the end`;
  add(parent, "p", `${grown}; ${count(alive)} of them lead to ${ends}. ${legend}`, "soft");
  tree(parent, root, (item, leaves) => {
    const same = new Map(); // chains that say the same, and count alike
    for (const i of leaves) {
      const m = pool.members[i], key = JSON.stringify([m[ANSWER], m[REWARD], m[LIST], pool.counted.includes(i)]);
      same.set(key, [...(same.get(key) || []), i]);
    }
    for (const list of same.values()) {
      const m = pool.members[list[0]], counts = pool.counted.includes(list[0]);
      const box = add(item, "div", "", counts ? "leaf counted" : "leaf");
      head(box, `${list.length > 1 ? "Chains" : "Chain"} ${list.map(i => i + 1).join(", ")}: `, m, counts);
      if (m[LIST] && m[LIST].length) segments(box, m[LIST]);
    }
  });
}

// Equal steps after the same ones become one: of how many it is made (drawn), how many were kept and led to an end (whole)
function gather(node) {
  const by = new Map();
  for (const kid of node.kids) {
    const key = kid.segments.length ? kid.segments[0][2] : kid, same = by.get(key);
    if (!same) by.set(key, kid);
    else {
      for (const n of ["drawn", "kept", "whole"]) same[n] += kid[n];
      for (const list of ["kids", "leaves"]) same[list].push(...kid[list]);
      for (const is of ["alive", "best"]) same[is] ||= kid[is];
    }
  }
  node.kids = [...by.values()];
  node.kids.forEach(gather);
}

// A tree of {segments, kids, leaves, alive, best, value, worth, depth}: what several have in common stands there once, and
// the page goes in where they part. Nodes that lead to no leaf are folded up.
function tree(parent, root, leaf) {
  const list = add(parent, "ul", "", "tree");
  if (root.leaves.length || root.kids.length) branch(list, root, leaf);
}

function branch(list, node, leaf, all = false) {
  const item = add(list, "li", "", node.best ? "best" : "");
  for (;;) {
    step(item, node);
    if (node.leaves.length) leaf(item, node.leaves);
    const order = (a, b) => (b.best || 0) - (a.best || 0) || (b.worth || 0) - (a.worth || 0);
    const kept = node.kids.filter(kid => all || kid.alive).sort(order);
    const lost = node.kids.filter(kid => !all && !kid.alive);
    if (!all && node.depth !== undefined) dropped(item, node.kids, lost, leaf);
    if (kept.length !== 1) {
      for (const kid of kept) branch(add(item, "ul"), kid, leaf, all);
      return;
    }
    node = kept[0];
  }
}

function step(item, node) {
  if (!node.segments || !node.segments.length) return;
  if (node.depth === undefined) return segments(item, node.segments);
  const line = add(item, "div", "", "step"), label = add(line, "small", `${node.depth} `);
  if (node.value !== null) add(label, "b", node.value.toFixed(3));
  if (node.drawn > 1) add(label, "span", ` ×${node.drawn}` + (node.kept < node.drawn ? `, ${node.kept} kept` : ""));
  label.title = `${node.tokens} tokens`;
  if (node.worth !== null && node.worth !== node.value) label.title += `; the chain so far is worth ${node.worth.toFixed(3)}`;
  if (node.segments[0][2].trim()) segments(line, node.segments);
  else add(line, "span", "(no words)", "soft");
}

// What became of the steps that were grown here, and those that led to no end
function dropped(item, kids, lost, leaf) {
  const sum = key => kids.reduce((n, kid) => n + kid[key], 0), [drawn, kept, whole] = ["drawn", "kept", "whole"].map(sum);
  if (!lost.length) return;
  const said = `${kept} of ${drawn} kept` + (whole < kept ? `, ${whole} to the end` : "");
  const worth = kid => (kid.worth === null ? "" : kid.worth.toFixed(3)) + (kid.drawn > 1 ? ` ×${kid.drawn}` : "");
  const others = lost.slice().sort((a, b) => b.worth - a.worth).slice(0, 9).map(worth);
  const box = add(item, "details", "", "dropped");
  add(box, "summary", `${said}; the others: ${others.join(", ")}${lost.length > 9 ? ", …" : ""}`);
  box.ontoggle = () => {
    box.ontoggle = null;
    for (const kid of lost) branch(add(box, "ul", "", "tree"), kid, leaf, true);
  };
}

// The tree of several lists of segments: [{list, leaf}] to a node. They part between words.
function merged(group) {
  const node = { segments: [], kids: [], leaves: [], alive: true };
  group = group.map(({ list, leaf }) => ({ list: list.slice(), leaf }));
  while (group.every(g => g.list.length && g.list[0][0] === group[0].list[0][0])) {
    const texts = group.map(g => g.list[0][2]);
    const n = texts.reduce((most, text) => alike(texts[0], text, most), texts[0].length);
    if (texts.every(text => text.length === n)) {
      node.segments.push(group[0].list[0]);
      for (const g of group) g.list.shift();
      continue;
    }
    let cut = n;
    while (cut && texts.some(text => cut < text.length && !/\s/.test(text[cut]))) cut--;
    if (cut) node.segments.push([group[0].list[0][0], null, texts[0].slice(0, cut)]);
    for (const g of group) {
      const [kind, , text] = g.list.shift();
      if (text.length > cut) g.list.unshift([kind, null, text.slice(cut)]);
    }
    break;
  }
  const parts = new Map();
  for (const g of group) {
    const key = g.list.length ? g.list[0][0] + g.list[0][2].match(/^\s*\S*/)[0] : null;
    if (key === null) node.leaves.push(g.leaf);
    else parts.set(key, [...(parts.get(key) || []), g]);
  }
  for (const [one, ...others] of parts.values()) {
    const alone = { segments: one.list, kids: [], leaves: [one.leaf], alive: true };
    node.kids.push(others.length ? merged([one, ...others]) : alone);
  }
  return node;
}

function alike(a, b, most) {
  const end = Math.min(most, b.length);
  let n = 0;
  while (n < end && a[n] === b[n]) n++;
  return n;
}
