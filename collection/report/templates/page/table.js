// The table of clips.
const table = (() => {
  const HEIGHT = 34, host = $("rows");
  const head = make("div", { className: "row head", role: "row" });
  const body = make("div", { role: "rowgroup", className: "body" });
  host.append(make("div", { role: "rowgroup", className: "top" }, head), body);
  const COLUMNS = [["✓", ""], ["Key", "key"], ["Title", "title"], ["Level", "level"], ["Split", "split"], ["Start", "start"], [S.title, "s"], [T.title, "t"], ["Flags", "flags"]];
  for (const [label, by] of COLUMNS) {
    const cell = make("span", { role: "columnheader" }, by ? button(label, () => sortBy(by)) : make("span", { "aria-label": "Selected" }, label));
    if (by) cell.dataset.by = by;
    head.append(cell);
  }
  function sortBy(by) { order.up = order.by === by ? !order.up : true; order.by = by; update(); }
  function row(n) {
    const i = shown[n], box = make("input", { type: "checkbox", checked: picked.has(i), "aria-label": `Select ${D.key[i]}` });
    box.addEventListener("change", () => { if (box.checked) picked.add(i); else picked.delete(i); countPicked(); });
    const open = button(D.key[i], () => openClip(i), { className: "open", "data-row": String(n) });
    const texts = [source(i).title, levelName(D.level[i]), split(i), clock(numbers.start_seconds[i]), fixed(numbers[S.column][i]), fixed(numbers[T.column][i]), flagsOf(i).join(", ")];
    return make("div", { className: "row", role: "row", "aria-rowindex": String(n + 2) }, make("span", { role: "cell" }, box), make("span", { role: "cell" }, open),
      ...texts.map((text) => make("span", { role: "cell", title: text }, text)));
  }
  const rows = virtual(host, body, HEIGHT, () => shown.length, row);
  function draw(top = false) {
    for (const cell of head.children) if (cell.dataset.by) cell.setAttribute("aria-sort", cell.dataset.by === order.by ? (order.up ? "ascending" : "descending") : "none");
    rows(top);
  }
  return { draw };
})();

function countPicked() { $("picked").textContent = picked.size ? `${many(picked.size)} selected` : ""; }
const chosen = () => (picked.size ? [...picked] : shown);
const sourcesOf = (clips) => [...new Set(clips.map((i) => D.source[i]))].map((n) => D.sources[n]);

// What a recipe takes: `select.review` names clips, `exclusions` whole sources.
const review = (clips) => csv([["key", "mark", "note"], ...clips.map((i) => [D.key[i], "reject", ""])]);

async function sha256(text) {
  const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
/** The list that `exclusions` names: what is excluded already, and these sources, by id and address on the web. */
async function exclusions(films) {
  const names = films.flatMap((film) => (/^https?:\/\//.test(film.url) ? [film.id, film.url] : [film.id]));
  const hashes = await Promise.all(names.map((name) => sha256(D.exclusions.salt + name)));
  const lines = [...new Set([...D.exclusions.hashes, ...hashes])].sort();
  return ["# Sources that must not be used: sha256 of the salt and the id or address, in UTF-8, sorted.", `salt = ${D.exclusions.salt}`, ...lines].join("\n") + "\n";
}
