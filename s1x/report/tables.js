// Tables: a click on a title sorts, and two buttons write the table as LaTeX or Markdown to copy.
const number = text => Number.parseFloat(text.replace(/[,<]/g, ""));

function sort(table, column, title) {
  const down = title.ariaSort === "descending", rows = [...table.tBodies[0].rows].slice(1);
  for (const other of table.rows[0].cells) other.ariaSort = null;
  title.ariaSort = down ? "ascending" : "descending";
  const text = row => row.cells[column].textContent.trim();
  const [some, none] = [rows.filter(row => text(row) !== "-"), rows.filter(row => text(row) === "-")];
  const numbers = some.every(row => !Number.isNaN(number(text(row))));
  some.sort((a, b) => (numbers ? number(text(a)) - number(text(b)) : text(a).localeCompare(text(b))));
  table.tBodies[0].append(...(down ? some : some.reverse()), ...none);
}

// A table that is too wide gets smaller, and then loses its least important columns; those are named, and one click away
function fit(table, note) {
  const box = table.parentElement, wide = () => box.scrollWidth > box.clientWidth;
  const ranks = [...table.rows[0].cells].map(title => Number(title.dataset.rank)), out = new Set();
  const put = () => {
    for (const row of table.rows) [...row.cells].forEach((cell, i) => cell.classList.toggle("out", out.has(i)));
  };
  put();
  table.classList.remove("tight");
  note.hidden = true;
  if (!wide() || note.open) return;
  table.classList.add("tight");
  for (let rank = Math.max(...ranks); rank > 0 && wide(); rank--) {
    ranks.forEach((own, i) => own === rank && out.add(i));
    put();
  }
  note.hidden = !out.size;
  const names = [...table.rows[0].cells].filter((_, i) => out.has(i)).map(cell => cell.textContent);
  note.firstChild.textContent = `Left out: ${names.join(", ")}. `;
}

const cellsOf = table => [...table.rows].map(row => [...row.cells].map(cell => cell.textContent.trim()));
const sides = table => [...table.rows[0].cells].map(cell => cell.classList.contains("l"));

function latex(table) {
  const special = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "·": "$\\cdot$", "<": "$<$", ">": "$>$", "|": "\\textbar{}" };
  const safe = text => text.replace(/[\\&%$#_{}~^·<>|]/g, c => special[c] || `\\${c}`);
  const [titles, ...rows] = cellsOf(table).map(row => row.map(safe).join(" & ") + " \\\\");
  const columns = sides(table).map(left => (left ? "l" : "r")).join("");
  const begin = `\\begin{tabular}{${columns}}`;
  return [begin, "\\toprule", titles, "\\midrule", ...rows, "\\bottomrule", "\\end{tabular}", ""].join("\n");
}

function markdown(table) {
  const line = row => `| ${row.map(text => text.replace(/\|/g, "\\|").replace(/</g, "&lt;")).join(" | ")} |`;
  const [titles, ...rows] = cellsOf(table);
  return [line(titles), line(sides(table).map(left => (left ? "---" : "---:"))), ...rows.map(line), ""].join("\n");
}

for (const table of document.querySelectorAll("table")) {
  for (const name of table.querySelectorAll("td.l")) { // long names may break where their parts do
    if (name.textContent.length < 25) continue;
    name.classList.toggle("long", name.textContent.length > 40);
    name.replaceChildren(...name.textContent.split(/(?<=[_(,=])/).flatMap(part => [part, document.createElement("wbr")]));
  }
  for (const figure of table.querySelectorAll("td:not(.l)")) { // and intervals may stand below their number
    const [, value, interval] = figure.textContent.match(/^(.*) (\[.*\])$/) ?? [];
    if (!interval) continue;
    figure.textContent = `${value} `;
    add(figure, "span", interval, "ci");
  }
  [...table.rows[0].cells].forEach((title, column) => {
    if (table.rows.length < 3) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = title.textContent;
    title.replaceChildren(button);
    button.onclick = () => sort(table, column, title);
  });
  const bar = document.createElement("div");
  bar.className = "copy";
  add(bar, "span", "Copy as ");
  for (const [name, write] of [["LaTeX", latex], ["Markdown", markdown]]) {
    const button = add(bar, "button", name);
    button.type = "button";
    button.onclick = () => {
      bar.querySelector("textarea")?.remove();
      const text = add(bar, "textarea", write(table));
      text.readOnly = true;
      text.select();
      navigator.clipboard?.writeText(text.value).catch(() => {}); // the text is selected, where a page may not copy
    };
  }
  table.parentElement.after(bar);
  const note = document.createElement("p"), all = document.createElement("button");
  note.className = "copy";
  all.type = "button";
  all.textContent = "Show";
  note.append(document.createTextNode(""), all);
  all.onclick = () => {
    note.open = true;
    fit(table, note);
  };
  table.parentElement.after(note);
  fit(table, note);
  addEventListener("resize", () => fit(table, note));
}
