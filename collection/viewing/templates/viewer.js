// The table of clips, and how bytes of the dataset are read: over HTTP, or from a folder that was opened.
const MARKS = { keep: ["a", "Keep"], reject: ["x", "Reject"], wrong_level: ["l", "Wrong level"], bad_cut: ["c", "Bad cut"] };
const REVIEW = document.documentElement.dataset.review;
const BLOCK = 512, RECORD = 16384;  // a clip's record follows its video: 3 kB
const ORDERS = { "In order of the shards": null, Start: "start", Texture: "texture", Motion: "motion", Length: "seconds", Size: "size" };
let H = null, C = {}, N = 0, files = null, found = new Uint32Array(0), count = 0, current = -1;
const marks = new Map();
const filter = { level: -1, text: "", split: "", flag: "", mark: "", order: "" };
const sorted = {};

const start9 = (i) => String(C.start[i]).padStart(9, "0");
const keyOf = (i) => `${C.sources.id[C.source[i]]}_${start9(i)}`;
const titleOf = (i) => C.sources.title[C.source[i]] || C.sources.id[C.source[i]];

/** `size` bytes of a file from `from` on, or fewer where it ends; all of it where `size` is not given. */
async function read(path, from = 0, size = Infinity, signal = undefined) {
  if (files) {
    const file = files.get(path);
    if (!file) throw new Error(`the folder has no ${path}`);
    return new Uint8Array(await file.slice(from, Math.min(file.size, from + size)).arrayBuffer());
  }
  const part = size < Infinity, answer = await fetch(path, { signal, headers: part ? { Range: `bytes=${from}-${from + size - 1}` } : {} });
  if (answer.status === 206 || (answer.ok && !part)) return new Uint8Array(await answer.arrayBuffer());
  if (answer.ok) return skipped(answer.body.getReader(), from, size);
  throw new Error(`${path}: the server answered ${answer.status}`);
}

/** The same from a server that knows no ranges: read on until there is enough. */
async function skipped(reader, from, size) {
  const bytes = new Uint8Array(size);
  let at = 0, filled = 0;
  while (filled < size) {
    const { done, value } = await reader.read();
    if (done) break;
    const piece = value.subarray(Math.max(0, from - at)).subarray(0, size - filled);
    bytes.set(piece, filled);
    filled += piece.length;
    at += value.length;
  }
  reader.cancel().catch(() => {});
  return bytes.subarray(0, filled);
}

function unpack(bytes) {
  const text = new TextDecoder();
  if (text.decode(bytes.subarray(0, 8)) !== "MLSTVIEW") throw new Error("metadata/viewer.bin is not a table of clips");
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(12, true);
  H = JSON.parse(text.decode(bytes.subarray(16, 16 + length)));
  N = H.clips;
  let at = 16 + length;
  for (const [name, type] of H.columns) {
    const Kind = globalThis[type];
    C[name] = new Kind(bytes.buffer, bytes.byteOffset + at, N);
    at += Math.ceil(C[name].byteLength / 8) * 8;
  }
  C.sources = JSON.parse(text.decode(bytes.subarray(at)));
  found = new Uint32Array(N);
  known = null;
  for (const name of Object.keys(sorted)) delete sorted[name];
}

// Filters: one pass over typed arrays.
/** What is known of all sources as one text, which is searched natively, and where each source's part begins. */
function searchable() {
  const parts = C.sources.id.map((id, n) => `${id}\n${C.sources.title[n]}\n${C.sources.channel[n]}\n${C.sources.licence[n]}\n`.toLowerCase());
  const starts = new Uint32Array(parts.length + 1);
  parts.forEach((part, n) => { starts[n + 1] = starts[n] + part.length; });
  return { text: parts.join(""), starts };
}
let known = null;
function sourcesWith(text) {
  if (!text) return null;
  known ||= searchable();
  const found = new Uint8Array(known.starts.length - 1);
  for (let at = known.text.indexOf(text); at >= 0;) {
    let low = 0, high = found.length;  // the last source that begins at `at` or before
    while (high - low > 1) { const middle = (low + high) >> 1; if (known.starts[middle] <= at) low = middle; else high = middle; }
    found[low] = 1;
    at = known.text.indexOf(text, known.starts[low + 1]);
  }
  return found;
}
/** A key, or its end: sources whose id ends so, and the first digits of the start. */
function keyPart(text) {
  const match = /^(.*)_(\d{1,9})$/.exec(text);
  if (!match) return null;
  return { sources: C.sources.id.map((id) => id.toLowerCase().endsWith(match[1])), digits: Number(match[2]), unit: 10 ** (9 - match[2].length) };
}

function refilter() {
  const text = sourcesWith(filter.text), key = keyPart(filter.text), split = filter.split ? H.splits.indexOf(filter.split) : -1;
  const flag = filter.flag ? 1 << H.flags.indexOf(filter.flag) : 0, counts = new Uint32Array(9);
  const all = filter.order ? inOrder(filter.order) : null, wanted = filter.mark ? markedRows() : null;
  const { level, split: splits, flags, source, start } = C, asked = filter.level, passed = found;
  let kept = 0;
  for (let n = 0; n < N; n++) {
    const i = all ? all[n] : n;
    if (split >= 0 && splits[i] !== split) continue;
    if (flag && !(flags[i] & flag)) continue;
    if (text && !text[source[i]] && !(key && key.sources[source[i]] && Math.floor(start[i] / key.unit) === key.digits)) continue;
    if (wanted && !wanted.has(keyOf(i))) continue;
    counts[level[i]]++;
    if (asked < 0 || level[i] === asked) passed[kept++] = i;
  }
  count = kept;
  return counts;
}
const inOrder = (name) => (sorted[name] ||= ascending(C[name]));
/** What the first search and the first of each order would wait for, made when the browser has nothing else to do. */
function prepare() {
  const later = globalThis.requestIdleCallback || ((act) => setTimeout(act, 50));
  const left = [() => { known ||= searchable(); }, ...Object.values(ORDERS).filter(Boolean).map((name) => () => inOrder(name))];
  const next = () => { const make = left.shift(); if (make) { make(); later(next); } };
  later(next);
}
function markedRows() {
  const wanted = new Set();
  for (const [key, mark] of marks) if (filter.mark === "any" || mark[0] === filter.mark) wanted.add(key);
  return wanted;
}

let draw = () => {};
function update() {
  const counts = refilter();
  $("count").textContent = `${many(count)} of ${many(N)} clips`;
  $("levels").childNodes.forEach((cell, n) => {
    cell.setAttribute("aria-pressed", String(filter.level === n));
    cell.lastChild.textContent = ` ${many(counts[n])}`;
  });
  draw(true);
}

function row(n) {
  const i = found[n], mark = marks.get(keyOf(i));
  const open = button(keyOf(i), () => play(i), { className: "open", "data-row": String(n) });
  const texts = [titleOf(i), levelName(C.level[i]), H.splits[C.split[i]], fixed(C.texture[i]), fixed(C.motion[i]), mark ? MARKS[mark[0]][1] : ""];
  return make("div", { className: i === current ? "row on" : "row", role: "row", "aria-rowindex": String(n + 2) }, make("span", { role: "cell" }, open), ...texts.map((text) => make("span", { role: "cell", title: text }, text)));
}

// One clip.
let asked = null, shownUrl = "";
async function play(i) {
  asked?.abort();
  asked = new AbortController();
  current = i;
  $("key").textContent = keyOf(i);
  drawMarks();
  draw();
  const size = C.size[i], padded = Math.ceil(size / BLOCK) * BLOCK;
  try {
    const bytes = await read(H.shards[C.shard[i]], C.block[i] * BLOCK, padded + RECORD, asked.signal);
    if (bytes.length < size) throw new Error(`${H.shards[C.shard[i]]} ends before the clip does`);
    if (current !== i) return;
    URL.revokeObjectURL(shownUrl);
    shownUrl = URL.createObjectURL(new Blob([bytes.subarray(0, size)], { type: "video/mp4" }));
    $("video").src = shownUrl;
    $("video").play().catch(() => {});
    drawRecord(i, member(bytes.subarray(padded)));
    $("told").textContent = told();
  } catch (why) {
    if (why.name !== "AbortError") $("told").textContent = `This clip cannot be read: ${why.message}`;
  }
}
const told = () => `${H.name} ${H.version}, fingerprint ${H.fingerprint.slice(0, 16)}, ${many(N)} clips of ${many(C.sources.id.length)} sources`;

/** The JSON in the tar member that begins here, {} if it is not all there. */
function member(bytes) {
  try {
    const text = new TextDecoder(), size = parseInt(text.decode(bytes.subarray(124, 135)), 8);
    return JSON.parse(text.decode(bytes.subarray(BLOCK, BLOCK + size)));
  } catch { return {}; }
}

function drawRecord(i, record) {
  const url = C.sources.url[C.source[i]], link = /^https?:\/\//.test(url) ? make("a", { href: url, rel: "noreferrer noopener", target: "_blank" }, url) : url;
  const begin = C.start[i] / 1000, flat = Object.entries(record).flatMap(([name, value]) => (value && typeof value === "object" ? Object.entries(value) : [[name, value]]));
  const rows = [["Title", titleOf(i)], ["Address", link], ["Channel", C.sources.channel[C.source[i]]], ["Licence", C.sources.licence[C.source[i]]], ["Level", `${levelName(C.level[i])}, ${H.splits[C.split[i]]}`],
    ["Time", `${clock(begin)} to ${clock(begin + C.seconds[i])}`], ["Flags", H.flags.filter((_, bit) => (C.flags[i] >> bit) & 1).join(", ") || "none"],
    ...flat.filter(([, value]) => typeof value === "number").map(([name, value]) => [name, Number.isInteger(value) ? String(value) : fixed(value)])];
  $("record").replaceChildren(make("table", { className: "record" }, make("tbody", {}, ...rows.map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value))))));
}

function step(by) {
  const here = found.subarray(0, count).indexOf(current), next = here < 0 ? 0 : here + by;
  if (next < 0 || next >= count) return;
  const list = $("rows"), top = next * 34;
  if (count * 34 < TALLEST && (top < list.scrollTop || top > list.scrollTop + list.clientHeight - 80)) list.scrollTop = top - list.clientHeight / 2;
  play(found[next]);
}

// Marks: sent to whoever serves the page, or offered for download.
const reviewText = () => csv([["key", "mark", "note"], ...[...marks].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, [mark, note]]) => [key, mark, note])]).replaceAll("\r\n", "\n");
let sending = Promise.resolve();
function setMark(mark) {
  if (current < 0) return;
  const key = keyOf(current), before = marks.get(key);
  if (!mark || before?.[0] === mark) marks.delete(key); else marks.set(key, [mark, before?.[1] || ""]);
  drawMarks();
  draw();
  if (REVIEW) sending = sending.then(send);
  else $("saved").textContent = `Marks not saved yet: ${many(marks.size)}`;
}
async function send() {
  try {
    const answer = await fetch(REVIEW, { method: "PUT", body: reviewText() });
    $("saved").textContent = answer.ok ? `Marks saved: ${many(marks.size)}` : `The marks are not saved: ${await answer.text()}`;
  } catch { $("saved").textContent = "The marks are not saved: mlst view does not answer any more. Start it again, then mark another clip."; }
}
function drawMarks() {
  const now = current >= 0 ? marks.get(keyOf(current))?.[0] : "";
  const buttons = Object.entries(MARKS).map(([mark, [key, label]]) => button(label, () => setMark(mark), { "aria-pressed": String(now === mark), "aria-keyshortcuts": key }));
  const download = REVIEW ? [] : [button("Save review.csv", () => { save("review.csv", reviewText()); $("saved").textContent = `Marks saved: ${many(marks.size)}`; })];
  $("marks").replaceChildren(...buttons, ...download);
}
function readMarks(text) {
  for (const line of text.split(/\r?\n/).slice(1)) {
    const match = /^([A-Za-z0-9_-]+),(\w+),(?:"((?:[^"]|"")*)"|(.*))$/.exec(line);
    if (match && MARKS[match[2]]) marks.set(match[1], [match[2], match[3] !== undefined ? match[3].replaceAll('""', '"') : match[4]]);
  }
}

// Beginning.
async function begin() {
  unpack(await read("metadata/viewer.bin"));
  if (REVIEW) readMarks(await fetch(REVIEW).then((answer) => (answer.ok ? answer.text() : "")));
  $("open").hidden = true;
  build();
  update();
  $("told").textContent = told();
  if (count) await play(found[0]);
  document.documentElement.dataset.ready = "yes";
  prepare();
}

function build() {
  for (const id of ["split", "flag", "marked", "order", "levels", "rows"]) $(id).replaceChildren();
  choices("split", H.splits, "Any split");
  choices("flag", H.flags, "Any flag");
  $("marked").append(...[["", "Marked or not"], ["any", "Any mark"], ...Object.entries(MARKS).map(([mark, [, label]]) => [mark, label])].map(([value, label]) => make("option", { value }, label)));
  $("order").append(...Object.entries(ORDERS).map(([label, value]) => make("option", { value: value || "" }, label)));
  for (let n = 0; n < 9; n++) {
    $("levels").append(make("button", { type: "button", "aria-pressed": "false" }, make("b", {}, levelName(n)), make("span", { className: "soft" })));
    $("levels").lastChild.addEventListener("click", () => { filter.level = filter.level === n ? -1 : n; update(); });
  }
  const head = make("div", { className: "row head", role: "row" }, ...["Key", "Title", "Level", "Split", H.axes[0].title, H.axes[1].title, "Mark"].map((text) => make("span", { role: "columnheader" }, text)));
  const body = make("div", { role: "rowgroup", className: "body" });
  $("rows").append(make("div", { role: "rowgroup", className: "top" }, head), body);
  draw = virtual($("rows"), body, 34, () => count, row);
  const bar = controls($("video"), H.frames);
  $("controls").replaceChildren(bar);
  $("controls").press = bar.press;
}

const on = (id, event, act) => $(id).addEventListener(event, act);
for (const [id, name] of [["split", "split"], ["flag", "flag"], ["marked", "mark"], ["order", "order"]]) on(id, "change", (event) => { filter[name] = event.target.value; update(); });
on("search", "input", (event) => { filter.text = event.target.value.toLowerCase(); update(); });
on("clear", "click", () => {
  Object.assign(filter, { level: -1, text: "", split: "", flag: "", mark: "" });
  for (const id of ["search", "split", "flag", "marked"]) $(id).value = "";
  update();
});
on("folder", "change", (event) => {
  files = new Map([...event.target.files].map((file) => [file.webkitRelativePath.split("/").slice(1).join("/"), file]));
  begin().catch((why) => { $("told").textContent = `This folder cannot be shown: ${why.message}.`; });
});
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || ["INPUT", "SELECT"].includes(event.target.tagName)) return;
  const mark = Object.entries(MARKS).find(([, [key]]) => key === event.key);
  if (event.key === "/") $("search").focus();
  else if (mark) setMark(mark[0]);
  else if (event.key === "u") setMark("");
  else if (["ArrowDown", "ArrowRight"].includes(event.key)) step(1);
  else if (["ArrowUp", "ArrowLeft"].includes(event.key)) step(-1);
  else if (",.".includes(event.key) || (event.key === " " && event.target.tagName !== "BUTTON")) $("controls").press?.(event.key);
  else return;
  event.preventDefault();
});
addEventListener("beforeunload", (event) => { if (!REVIEW && $("saved").textContent.includes("not saved")) event.preventDefault(); });
drawMarks();
if (location.protocol === "file:") {
  $("open").hidden = false;
  $("told").textContent = "A page on disk cannot read the files beside it by itself.";
} else begin().catch((why) => { $("open").hidden = false; $("told").textContent = `The dataset beside this page cannot be read: ${why.message}. A folder on this machine can be opened instead.`; });
