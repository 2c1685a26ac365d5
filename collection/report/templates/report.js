"use strict";
const D = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const N = D.key.length;
const floats = (text) => new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const numbers = Object.fromEntries(Object.entries(D.numbers).map(([name, text]) => [name, floats(text)]));
const NAMES = Object.keys(numbers);
const { s: S, t: T } = D.axes;
const WORDS = ["low", "medium", "high"];
const levelName = (n) => `S${n % 3}T${Math.floor(n / 3)}`;
const split = (i) => D.splits[D.split[i]];
const flagsOf = (i) => D.flags.filter((_, bit) => (D.flag[i] >> bit) & 1);
const fixed = (x) => (Math.abs(x) >= 100 ? x.toFixed(0) : Math.abs(x) >= 1 ? x.toFixed(1) : x.toFixed(3));
const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}.${Math.floor((s % 1) * 10)}`;
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** An element with properties, attributes (keys with a dash or "role") and children; text is never parsed as HTML. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || ["role", "colspan"].includes(name)) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

const player = (i) => make("video", { src: D.previews[i], muted: true, loop: true, playsInline: true, preload: "metadata" });
/** Plays a video while its host is pointed at or has the focus. */
function onAttention(host, video) {
  for (const event of ["pointerenter", "focus"]) host.addEventListener(event, () => video.play().catch(() => {}));
  for (const event of ["pointerleave", "blur"]) host.addEventListener(event, () => video.pause());
}

// What is shown: filters narrow all clips down to `shown`, sorted for the table.
const filter = { level: -1, text: "", split: "", flag: "", column: "", low: -Infinity, high: Infinity, brush: null };
const haystack = D.key.map((key, i) => {
  const film = D.sources[D.source[i]];
  return [key, film.title, film.id, film.channel].join("\n").toLowerCase();
});
let shown = [];
let order = { by: "key", up: true };
const picked = new Set();

function passes(i) {
  return (filter.level < 0 || D.level[i] === filter.level)
    && (!filter.text || haystack[i].includes(filter.text))
    && (!filter.split || split(i) === filter.split)
    && (!filter.flag || (D.flag[i] >> D.flags.indexOf(filter.flag)) & 1)
    && (!filter.column || (numbers[filter.column][i] >= filter.low && numbers[filter.column][i] <= filter.high))
    && (!filter.brush || filter.brush.has(i));
}

const SORTS = {
  key: (i) => D.key[i], title: (i) => D.sources[D.source[i]].title, level: (i) => D.level[i], split: (i) => D.split[i],
  start: (i) => numbers.start_seconds[i], s: (i) => numbers[S.column][i], t: (i) => numbers[T.column][i], flags: (i) => D.flag[i],
};

function update() {
  shown = [];
  for (let i = 0; i < N; i++) if (passes(i)) shown.push(i);
  const value = SORTS[order.by];
  shown.sort((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : a - b) * (order.up ? 1 : -1));
  $("count").textContent = `${shown.length.toLocaleString("en")} of ${N.toLocaleString("en")} clips`;
  drawGrid(); plane.draw(); table.draw(true); drawHistograms();
}

// The 3 x 3 grid.
function drawGrid() {
  document.querySelectorAll(".level").forEach((cell, n) => {
    cell.classList.toggle("on", filter.level === n);
    cell.querySelector("button").setAttribute("aria-pressed", String(filter.level === n));
  });
}

function buildGrid() {
  for (let n = 0; n < 9; n++) {
    const [s, t] = [n % 3, Math.floor(n / 3)];
    const count = D.level.reduce((sum, level) => sum + (level === n), 0);
    const name = make("button", { "aria-pressed": "false" }, make("b", {}, levelName(n)), ` ${count.toLocaleString("en")} clips`,
      make("div", { className: "soft" }, `${WORDS[s]} texture, ${WORDS[t]} motion`));
    name.addEventListener("click", () => { filter.level = filter.level === n ? -1 : n; update(); });
    const clips = make("div", { className: "clips" });
    for (const i of D.inGrid.filter((i) => D.level[i] === n)) {
      const video = player(i);
      const button = make("button", { "aria-label": `Clip ${D.key[i]}`, title: D.key[i] }, video);
      onAttention(button, video);
      button.addEventListener("click", () => openClip(i));
      clips.append(button);
    }
    if (!count) clips.append(make("p", { className: "soft" }, `No clip. It would take ${wanted(s, t)}.`));
    $("grid").append(make("div", { className: "level" }, name, clips));
  }
}

const wanted = (s, t) => `${between(S.cuts, s, S.title)} and ${between(T.cuts, t, T.title)}`;
const between = (cuts, n, name) => [`${name} below ${cuts[0]}`, `${name} from ${cuts[0]} to ${cuts[1]}`, `${name} of ${cuts[1]} or more`][n];

// The plane: a canvas with its own zoom, brush and nearest-point look-up.
const plane = (() => {
  const canvas = $("points");
  const context = canvas.getContext("2d");
  const bend = (v) => Math.asinh(v / 5);
  const X = Array.from(numbers[S.column]), Y = Array.from(numbers[T.column], bend);
  const most = (values) => values.reduce((a, b) => Math.max(a, b), 0);
  const whole = { x0: 0, x1: Math.max(most(X), S.cuts[1]) * 1.05 || 1, y0: 0, y1: Math.max(most(Y), bend(T.cuts[1])) * 1.05 || 1 };
  let view = { ...whole }, brush = null, size = { w: 600, h: 460 };
  const px = (x) => 44 + (x - view.x0) / (view.x1 - view.x0) * (size.w - 56);
  const py = (y) => size.h - 34 - (y - view.y0) / (view.y1 - view.y0) * (size.h - 46);
  const back = (x, y) => [view.x0 + (x - 44) / (size.w - 56) * (view.x1 - view.x0), view.y0 + (size.h - 34 - y) / (size.h - 46) * (view.y1 - view.y0)];

  function shade(i) {
    const by = $("colour").value;
    if (by === "split") return colour(split(i));
    if (by === "level") return `hsl(${D.level[i] * 40} 65% 50%)`;
    if (by === "source") return `hsl(${(D.source[i] * 137.5) % 360} 60% 50%)`;
    if (by.startsWith("flag:")) return (D.flag[i] >> D.flags.indexOf(by.slice(5))) & 1 ? colour("mark") : colour("line");
    const values = numbers[by], [low, high] = limits(by);
    return `hsl(${250 - 210 * Math.min(1, Math.max(0, (values[i] - low) / (high - low || 1)))} 75% 50%)`;
  }
  const known = {};
  function limits(name) {
    if (!known[name]) { const sorted = Float32Array.from(numbers[name]).sort(); known[name] = [sorted[Math.floor(N * 0.02)], sorted[Math.floor(N * 0.98)]]; }
    return known[name];
  }

  function line(cut, horizontal, margin) {
    context.fillStyle = colour("line"); context.globalAlpha = 0.35;
    const [a, b] = [cut / margin, cut * margin];
    if (horizontal) context.fillRect(44, py(bend(b)), size.w - 56, py(bend(a)) - py(bend(b)));
    else context.fillRect(px(a), 12, px(b) - px(a), size.h - 46);
    context.globalAlpha = 1; context.strokeStyle = colour("soft"); context.beginPath();
    if (horizontal) { context.moveTo(44, py(bend(cut))); context.lineTo(size.w - 12, py(bend(cut))); }
    else { context.moveTo(px(cut), 12); context.lineTo(px(cut), size.h - 34); }
    context.stroke();
  }

  function draw() {
    const ratio = window.devicePixelRatio || 1;
    size = { w: canvas.clientWidth, h: 460 };
    canvas.width = size.w * ratio; canvas.height = size.h * ratio; canvas.style.height = `${size.h}px`;
    context.setTransform(ratio, 0, 0, ratio, 0, 0); context.clearRect(0, 0, size.w, size.h); context.font = "12px system-ui";
    context.save(); context.beginPath(); context.rect(44, 12, size.w - 56, size.h - 46); context.clip();
    S.cuts.forEach((cut) => line(cut, false, S.margin)); T.cuts.forEach((cut) => line(cut, true, T.margin));
    const radius = N > 20000 ? 1.2 : N > 2000 ? 2 : 3.5;
    const inside = new Uint8Array(N);
    for (const i of shown) inside[i] = 1;
    const tints = {};
    for (let i = 0; i < N; i++) if (inside[i]) (tints[shade(i)] ||= []).push(i);
    context.fillStyle = colour("line"); context.globalAlpha = 0.5;
    for (let i = 0; i < N; i++) if (!inside[i]) context.fillRect(px(X[i]) - 1, py(Y[i]) - 1, 2, 2);
    context.globalAlpha = 0.8;
    for (const [tint, members] of Object.entries(tints)) {
      context.fillStyle = tint;
      for (const i of members) {
        if (radius < 2) context.fillRect(px(X[i]) - radius, py(Y[i]) - radius, 2 * radius, 2 * radius);
        else { context.beginPath(); context.arc(px(X[i]), py(Y[i]), radius, 0, 7); context.fill(); }
      }
    }
    context.globalAlpha = 1;
    if (brush) { context.strokeStyle = colour("accent"); context.strokeRect(brush.x, brush.y, brush.w, brush.h); }
    context.restore(); axes();
  }

  function axes() {
    context.fillStyle = colour("soft"); context.textAlign = "center";
    const step = (view.x1 - view.x0) / 6, nice = Number(step.toPrecision(1));
    for (let x = Math.ceil(view.x0 / nice) * nice; x <= view.x1; x += nice) context.fillText(String(Number(x.toPrecision(4))), px(x), size.h - 18);
    context.fillText(`${S.title} (texture)`, size.w / 2, size.h - 3); context.textAlign = "right";
    for (const v of [0, 1, 2, 5, 10, 20, 50, 100, 200]) if (bend(v) >= view.y0 && bend(v) <= view.y1) context.fillText(String(v), 38, py(bend(v)) + 4);
    context.save(); context.translate(11, size.h / 2); context.rotate(-Math.PI / 2); context.textAlign = "center"; context.fillText(`${T.title} (motion)`, 0, 0); context.restore();
  }

  function nearest(x, y) {
    let best = -1, distance = 100;
    for (const i of shown) { const d = (px(X[i]) - x) ** 2 + (py(Y[i]) - y) ** 2; if (d < distance) { distance = d; best = i; } }
    return best;
  }

  let hovered = -1, drag = null;
  function hover(x, y) {
    const i = nearest(x, y);
    if (i === hovered) return;
    hovered = i; $("tip").hidden = i < 0;
    if (i < 0) return;
    const lines = [make("div", {}, D.key[i]), make("div", { className: "soft" }, `${levelName(D.level[i])}, ${S.title} ${fixed(X[i])}, ${T.title} ${fixed(numbers[T.column][i])}, ${split(i)}`)];
    if (D.previews[i]) { const video = player(i); lines.unshift(video); video.play().catch(() => {}); }
    $("tip").replaceChildren(...lines);
    $("tip").style.left = `${Math.min(x + 12, size.w - 170)}px`; $("tip").style.top = `${Math.max(0, y - 60)}px`;
  }
  const at = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  canvas.addEventListener("pointerdown", (event) => { const [x, y] = at(event); drag = { x, y, view: { ...view }, move: event.shiftKey }; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = at(event);
    if (!drag) return hover(x, y);
    if (drag.move) {
      const dx = (x - drag.x) / (size.w - 56) * (drag.view.x1 - drag.view.x0), dy = (y - drag.y) / (size.h - 46) * (drag.view.y1 - drag.view.y0);
      view = { x0: drag.view.x0 - dx, x1: drag.view.x1 - dx, y0: drag.view.y0 + dy, y1: drag.view.y1 + dy };
    } else brush = { x: Math.min(x, drag.x), y: Math.min(y, drag.y), w: Math.abs(x - drag.x), h: Math.abs(y - drag.y) };
    draw();
  });
  canvas.addEventListener("pointerup", (event) => {
    const start = drag; drag = null;
    if (!start || start.move) return;
    const box = brush; brush = null;
    if (!box || box.w + box.h < 6) { const [x, y] = at(event), i = nearest(x, y); draw(); if (i >= 0) openClip(i); return; }
    const [x0, y1] = back(box.x, box.y), [x1, y0] = back(box.x + box.w, box.y + box.h);
    filter.brush = null; const before = [];
    for (let i = 0; i < N; i++) if (passes(i) && X[i] >= x0 && X[i] <= x1 && Y[i] >= y0 && Y[i] <= y1) before.push(i);
    filter.brush = new Set(before); update();
  });
  canvas.addEventListener("pointerleave", () => { hovered = -1; $("tip").hidden = true; });
  const zoom = (x, y, factor) => {
    const [cx, cy] = back(x, y);
    view = { x0: cx + (view.x0 - cx) * factor, x1: cx + (view.x1 - cx) * factor, y0: cy + (view.y0 - cy) * factor, y1: cy + (view.y1 - cy) * factor };
    draw();
  };
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(...at(event), event.deltaY > 0 ? 1.15 : 1 / 1.15); }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const dx = (view.x1 - view.x0) / 12, dy = (view.y1 - view.y0) / 12;
    const moves = { ArrowLeft: [-dx, 0], ArrowRight: [dx, 0], ArrowUp: [0, dy], ArrowDown: [0, -dy] };
    if (event.key === "+" || event.key === "=") zoom(size.w / 2, size.h / 2, 1 / 1.2);
    else if (event.key === "-") zoom(size.w / 2, size.h / 2, 1.2);
    else if (moves[event.key]) { const [x, y] = moves[event.key]; view = { x0: view.x0 + x, x1: view.x1 + x, y0: view.y0 + y, y1: view.y1 + y }; draw(); }
    else return;
    event.preventDefault();
  });
  $("reset").addEventListener("click", () => { view = { ...whole }; draw(); });
  $("unselect").addEventListener("click", () => { filter.brush = null; update(); });
  return { draw };
})();

function drawLegend() {
  const by = $("colour").value;
  const entries = by === "split" ? D.splits.map((name) => [name, colour(name)])
    : by === "level" ? [...Array(9).keys()].map((n) => [levelName(n), `hsl(${n * 40} 65% 50%)`])
    : by.startsWith("flag:") ? [[by.slice(5), colour("mark")], ["without it", colour("line")]]
    : by === "source" ? [] : [["low", "hsl(250 75% 50%)"], ["high", "hsl(40 75% 50%)"]];
  $("legend").replaceChildren(...entries.map(([name, tint]) => { const dot = make("i"); dot.style.background = tint; return make("span", {}, dot, name); }));
}

// The table: only the rows in sight exist.
const table = (() => {
  const HEIGHT = 34, host = $("rows");
  const head = make("div", { className: "row head", role: "row" });
  const body = make("div", { role: "rowgroup" });
  body.style.position = "relative";
  host.append(make("div", { role: "rowgroup" }, head), body);
  const COLUMNS = [["", ""], ["Key", "key"], ["Title", "title"], ["Level", "level"], ["Split", "split"], ["Start", "start"], [S.title, "s"], [T.title, "t"], ["Flags", "flags"]];
  for (const [label, by] of COLUMNS) {
    const cell = make("span", { role: "columnheader" });
    if (by) {
      const button = make("button", {}, label);
      button.addEventListener("click", () => { order = { by, up: order.by === by ? !order.up : true }; update(); });
      cell.append(button); cell.dataset.by = by;
    } else cell.append(make("span", { className: "soft" }, "✓"));
    head.append(cell);
  }
  function row(i, n) {
    const box = make("input", { type: "checkbox", checked: picked.has(i), "aria-label": `Select ${D.key[i]}` });
    box.style.minHeight = "0";
    box.addEventListener("change", () => { if (box.checked) picked.add(i); else picked.delete(i); count(); });
    const open = make("button", { className: "open" }, D.key[i]);
    open.addEventListener("click", () => openClip(i));
    const texts = [D.sources[D.source[i]].title, levelName(D.level[i]), split(i), clock(numbers.start_seconds[i]), fixed(numbers[S.column][i]), fixed(numbers[T.column][i]), flagsOf(i).join(", ")];
    const element = make("div", { className: "row", role: "row", "aria-rowindex": String(n + 2) }, make("span", { role: "cell" }, box), make("span", { role: "cell" }, open),
      ...texts.map((text) => make("span", { role: "cell", title: text }, text)));
    Object.assign(element.style, { position: "absolute", top: `${n * HEIGHT}px`, left: "0", right: "0" });
    return element;
  }
  function draw(top = false) {
    if (top) host.scrollTop = 0;
    host.setAttribute("aria-rowcount", String(shown.length + 1));
    for (const cell of head.children) cell.setAttribute("aria-sort", cell.dataset.by === order.by ? (order.up ? "ascending" : "descending") : "none");
    body.style.height = `${shown.length * HEIGHT}px`;
    const first = Math.max(0, Math.floor(host.scrollTop / HEIGHT) - 8), last = Math.min(shown.length, first + Math.ceil(host.clientHeight / HEIGHT) + 16);
    body.replaceChildren(...shown.slice(first, last).map((i, n) => row(i, first + n)));
  }
  host.addEventListener("scroll", () => requestAnimationFrame(() => draw()));
  return { draw };
})();

function count() { $("picked").textContent = picked.size ? `${picked.size.toLocaleString("en")} selected` : ""; }

function save(name, lines) {
  const link = make("a", { href: URL.createObjectURL(new Blob([lines.join("\r\n") + "\r\n"], { type: "text/csv" })), download: name });
  link.click(); setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
const chosen = () => (picked.size ? [...picked] : shown);

// Histograms of the clips shown.
function histogram(name, members) {
  const values = numbers[name], sorted = Float32Array.from(values).sort();
  const [low, high] = [sorted[0], sorted[Math.floor((N - 1) * 0.995)]], BINS = 40;
  const counts = D.splits.map(() => new Float32Array(BINS));
  for (const i of members) {
    const bin = Math.floor((values[i] - low) / (high - low || 1) * BINS);
    counts[D.split[i]][Math.min(BINS - 1, Math.max(0, bin))]++;
  }
  const canvas = make("canvas", { role: "img", "aria-label": `Histogram of ${name}` });
  const context = canvas.getContext("2d"), ratio = window.devicePixelRatio || 1, W = 180, H = 64;
  Object.assign(canvas, { width: W * ratio, height: H * ratio }); context.scale(ratio, ratio);
  const tallest = Math.max(1, ...counts[0].map((_, b) => counts.reduce((sum, c) => sum + c[b], 0)));
  for (let b = 0; b < BINS; b++) {
    let y = H;
    D.splits.forEach((part, n) => { const h = counts[n][b] / tallest * H; context.fillStyle = colour(part); context.fillRect(b * W / BINS, y - h, W / BINS - 0.5, h); y -= h; });
  }
  context.fillStyle = colour("text");
  for (const cut of Object.values(D.axes).find((axis) => axis.column === name)?.cuts || []) if (cut > low && cut < high) context.fillRect((cut - low) / (high - low) * W, 0, 1, H);
  return make("figure", {}, canvas, make("figcaption", {}, name, make("span", { className: "soft" }, ` ${fixed(low)} to ${fixed(high)}`)));
}
let waiting = 0;
function drawHistograms() { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(() => $("hist").replaceChildren(...D.statistics.map((name) => histogram(name, shown)))); }

// One clip.
const rank = (name, i) => { let below = 0; for (let j = 0; j < N; j++) below += numbers[name][j] < numbers[name][i]; return Math.round(100 * below / N); };
function film(i) {
  const SVG = "http://www.w3.org/2000/svg", shape = (tag, attributes) => { const e = document.createElementNS(SVG, tag); for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v); return e; };
  const here = [...Array(N).keys()].filter((j) => D.source[j] === D.source[i]);
  const length = Math.max(D.sources[D.source[i]].seconds, ...here.map((j) => numbers.end_seconds[j])) || 1;
  const svg = shape("svg", { class: "film", viewBox: "0 0 1000 40", preserveAspectRatio: "none", role: "img", "aria-label": "Clips of this source in time" });
  svg.append(shape("rect", { x: 0, y: 17, width: 1000, height: 6, fill: colour("line") }));
  for (const j of here) {
    const x = numbers.start_seconds[j] / length * 1000, width = Math.max(2, (numbers.end_seconds[j] - numbers.start_seconds[j]) / length * 1000 - 1);
    const clip = shape("rect", { x, y: 6, width, height: 28, rx: 2, fill: j === i ? colour("mark") : D.shot[j] % 2 ? colour("accent") : colour("soft") });
    clip.append(shape("title", {})); clip.firstChild.textContent = `${D.key[j]}, shot ${D.shot[j]}`;
    clip.addEventListener("click", () => openClip(j)); svg.append(clip);
  }
  return svg;
}

function controls(video) {
  const play = make("button", {}, "Play"), slower = make("select", { "aria-label": "Speed" }, ...[0.1, 0.25, 0.5, 1, 2].map((v) => make("option", { value: v, selected: v === 1 }, `${v}x`)));
  const move = (frames) => { video.pause(); video.currentTime = Math.min(video.duration, Math.max(0, video.currentTime + frames * video.duration / D.frames)); };
  play.addEventListener("click", () => (video.paused ? video.play() : video.pause()));
  video.addEventListener("play", () => { play.textContent = "Pause"; }); video.addEventListener("pause", () => { play.textContent = "Play"; });
  slower.addEventListener("change", () => { video.playbackRate = Number(slower.value); });
  const button = (text, frames) => { const b = make("button", {}, text); b.addEventListener("click", () => move(frames)); return b; };
  return make("p", {}, play, " ", button("− frame", -1), " ", button("+ frame", 1), " ", slower);
}

function openClip(i) {
  const source = D.sources[D.source[i]], dialog = $("clip"), parts = [];
  const title = make("h2", { id: "cliptitle" }, D.key[i]); title.style.marginTop = "0";
  const close = make("button", {}, "Close"); close.addEventListener("click", () => dialog.close());
  if (D.previews[i]) { const video = player(i); parts.push(video, controls(video)); video.play().catch(() => {}); }
  else parts.push(make("p", { className: "soft" }, `No preview in this report; it is at byte ${D.offset[i]} of ${D.shards[D.shard[i]]}, ${D.size[i]} bytes.`));
  const link = /^https?:/.test(source.url) ? make("a", { href: source.url, rel: "noreferrer noopener", target: "_blank" }, source.url) : source.url;
  const facts = [["Source", source.title || source.id], ["Address", link], ["Channel", source.channel], ["Licence", source.licence],
    ["Video", `${source.width}x${source.height}, ${fixed(source.rate)} frames/s, ${source.codec}`], ["Level", `${levelName(D.level[i])}, ${split(i)}`],
    ["Time", `${clock(numbers.start_seconds[i])} to ${clock(numbers.end_seconds[i])}, shot ${D.shot[i]}`], ["Flags", flagsOf(i).join(", ") || "none"]];
  const record = make("table", {}, ...facts.map(([name, value]) => make("tr", {}, make("th", {}, name), make("td", {}, value))));
  const values = make("table", {}, make("tr", {}, make("th", {}, "Statistic"), make("th", { className: "n" }, "Value"), make("th", { className: "n" }, "Above % of clips")),
    ...D.statistics.map((name) => make("tr", {}, make("td", {}, name), make("td", { className: "n" }, fixed(numbers[name][i])), make("td", { className: "n" }, String(rank(name, i))))));
  dialog.replaceChildren(title, ...parts, make("h3", {}, "In its film"), film(i), record, make("h3", {}, "Statistics"), values, close);
  if (!dialog.open) dialog.showModal();
}

// Outcomes, splits, sources.
function buildTables() {
  const largest = Math.max(1, ...D.outcomes.map((line) => line.count));
  for (const line of D.outcomes) {
    const bar = make("i"); bar.style.width = `${Math.max(2, 100 * line.count / largest)}%`;
    const button = make("button", { className: line.status }, make("span", {}, line.stage), make("span", {}, line.status), make("span", {}, line.kind), make("span", {}, line.count.toLocaleString("en")), bar);
    button.addEventListener("click", () => listProblems(line));
    $("outcomes").append(button);
  }
  if (!D.outcomes.length) $("outcomes").append(make("p", { className: "soft" }, "Outcomes are in the workspace of the build, which this report was made without."));
  const head = (names) => make("tr", {}, ...names.map((name) => make("th", {}, name)));
  const levels = [...Array(9).keys()];
  const cell = (n, part) => D.level.reduce((sum, level, i) => sum + (level === n && split(i) === part), 0);
  $("balance").append(make("table", {}, head(["Level", ...D.splits]), ...levels.map((n) => make("tr", {}, make("td", {}, levelName(n)), ...D.splits.map((part) => make("td", {}, String(cell(n, part))))))));
  const clips = D.sources.map(() => 0); D.source.forEach((n) => clips[n]++);
  $("films").append(make("table", {}, head(["Source", "Title", "Channel", "Licence", "Size", "Frames/s", "Codec", "Length", "Clips"]),
    ...D.sources.slice(0, 500).map((s, n) => make("tr", {}, ...[s.id, s.title, s.channel, s.licence, `${s.width}x${s.height}`, fixed(s.rate), s.codec, clock(s.seconds), String(clips[n])].map((text) => make("td", {}, text))))));
  if (D.sources.length > 500) $("films").append(make("p", { className: "soft" }, `and ${D.sources.length - 500} more; the index has them all`));
}

function listProblems(line) {
  const found = D.problems.filter((p) => p.stage === line.stage && p.kind === line.kind);
  $("problems").replaceChildren(make("h3", {}, `${line.stage}: ${line.kind || line.status}`), found.length
    ? make("table", {}, ...found.map((p) => make("tr", {}, make("td", {}, p.key), make("td", {}, p.detail))))
    : make("p", { className: "soft" }, "Nothing more is recorded for these items."));
  if (found.length < line.count && found.length) $("problems").append(make("p", { className: "soft" }, `${found.length} of ${line.count} are listed; the ledger has all.`));
}

function choices(id, names, first) { $(id).append(...(first === null ? [] : [make("option", { value: "" }, first)]), ...names.map((name) => make("option", { value: name }, name))); }

choices("split", D.splits, "Any split"); choices("flag", D.flags, "Any flag"); choices("column", NAMES, "Any value of ...");
choices("colour", ["split", "level", "source", ...D.flags.map((name) => `flag:${name}`), ...D.statistics], null);
$("search").addEventListener("input", (event) => { filter.text = event.target.value.toLowerCase(); update(); });
$("split").addEventListener("change", (event) => { filter.split = event.target.value; update(); });
$("flag").addEventListener("change", (event) => { filter.flag = event.target.value; update(); });
const narrow = () => {
  const [low, high] = $("range").value.split("..").map((text) => text.trim());
  filter.column = $("column").value;
  filter.low = low ? Number(low) : -Infinity;
  filter.high = high ? Number(high) : Infinity;
  update();
};
$("column").addEventListener("change", narrow); $("range").addEventListener("change", narrow);
$("colour").addEventListener("change", () => { plane.draw(); drawLegend(); });
$("clear").addEventListener("click", () => {
  Object.assign(filter, { level: -1, text: "", split: "", flag: "", column: "", low: -Infinity, high: Infinity, brush: null });
  for (const id of ["search", "split", "flag", "column", "range"]) $(id).value = "";
  update();
});
$("all").addEventListener("click", () => { shown.forEach((i) => picked.add(i)); count(); table.draw(); });
$("none").addEventListener("click", () => { picked.clear(); count(); table.draw(); });
$("keys").addEventListener("click", () => save("clips.csv", ["key", ...chosen().map((i) => quoted(D.key[i]))]));
$("sourcelist").addEventListener("click", () => save("sources.csv", ["id,url", ...[...new Set(chosen().map((i) => D.source[i]))].map((n) => `${quoted(D.sources[n].id)},${quoted(D.sources[n].url)}`)]));
window.addEventListener("resize", () => { plane.draw(); table.draw(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", update);
buildGrid(); buildTables(); drawLegend(); update();
document.documentElement.dataset.ready = "yes";
