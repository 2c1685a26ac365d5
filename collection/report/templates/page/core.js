"use strict";
const $ = (id) => document.getElementById(id);
const WORDS = ["low", "medium", "high"];
const levelName = (n) => `S${n % 3}T${Math.floor(n / 3)}`;
const fixed = (x) => (Math.abs(x) >= 100 ? x.toFixed(0) : Math.abs(x) >= 1 ? x.toFixed(1) : x.toFixed(3));
const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}.${Math.floor((s % 1) * 10)}`;
const many = (n) => n.toLocaleString("en");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** An element with properties, attributes (names with a dash, or listed) and children; text is never parsed as HTML. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || ["role", "colspan", "scope"].includes(name)) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

function button(text, act, properties = {}) {
  const made = make("button", { type: "button", ...properties }, text);
  made.addEventListener("click", act);
  return made;
}

/** A table of texts and elements; names that begin with # head columns of numbers. */
function sheet(names, rows, caption) {
  const right = names.map((name) => (name.startsWith("#") ? "n" : ""));
  const head = names.map((name, n) => make("th", { scope: "col", className: right[n] }, name.replace("#", "")));
  const body = rows.map((row) => make("tr", {}, ...row.map((cell, n) => make("td", { className: right[n] }, cell))));
  return make("table", { "aria-label": caption }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body));
}

function choices(id, names, first) {
  const labels = first === null ? names.map((name) => [name, name]) : [["", first], ...names.map((name) => [name, name])];
  $(id).append(...labels.map(([value, label]) => make("option", { value }, label)));
}

/** Offers a text file for download. */
function save(name, text, type = "text/csv") {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
const csv = (lines) => lines.map((line) => line.map(quoted).join(",")).join("\r\n") + "\r\n";

/** A number for each value, so that numbers are in the order of the values as a reader of any language expects. */
function ranks(values) {
  const collator = new Intl.Collator(undefined, { numeric: true });
  const sorted = [...new Set(values)].sort(collator.compare);
  const rank = new Map(sorted.map((value, n) => [value, n]));
  return Float64Array.from(values, (value) => rank.get(value));
}

/** Indices in ascending order of their numbers (as floats of 32 bits), ties by index: a radix sort, 11 bits a pass. */
function ascending(values) {
  const n = values.length, keys = new Uint32Array(new Float32Array(values).buffer), places = new Uint32Array(3 * 2048);
  for (let i = 0; i < n; i++) {
    const bits = keys[i], key = (bits >>> 31 ? ~bits : bits | 0x80000000) >>> 0;  // in the order of the numbers
    keys[i] = key;
    places[key & 2047]++; places[2048 + (key >>> 11 & 2047)]++; places[4096 + (key >>> 22)]++;
  }
  let from = new Uint32Array(n), to = new Uint32Array(n);
  for (let i = 0; i < n; i++) from[i] = i;
  for (let pass = 0; pass < 3; pass++) {
    const shift = 11 * pass, here = places.subarray(2048 * pass, 2048 * (pass + 1));
    for (let bucket = 0, sum = 0; bucket < 2048; bucket++) { const count = here[bucket]; here[bucket] = sum; sum += count; }
    for (let k = 0; k < n; k++) { const i = from[k]; to[here[keys[i] >>> shift & 2047]++] = i; }
    [from, to] = [to, from];
  }
  return from;
}

/** Plays a video while its host is pointed at or has the focus. */
function onAttention(host, video) {
  for (const event of ["pointerenter", "focus"]) host.addEventListener(event, () => video.play().catch(() => {}));
  for (const event of ["pointerleave", "blur"]) host.addEventListener(event, () => video.pause());
}

const SPEEDS = [0.1, 0.25, 0.5, 1, 2];
/** Buttons for a video of so many frames: play, step by frames, loop, speed. Comma and full stop step, too. */
function controls(video, frames) {
  const step = (count) => {
    video.pause();
    const here = Math.round(video.currentTime * frames / video.duration - 0.5), next = (here + count + frames) % frames;
    video.currentTime = (next + 0.5) * video.duration / frames;
  };
  const toggle = () => (video.paused ? video.play().catch(() => {}) : video.pause());
  const play = button("Play", toggle), place = make("span", { className: "soft" });
  const loop = button("Loop", () => { video.loop = !video.loop; loop.setAttribute("aria-pressed", String(video.loop)); }, { "aria-pressed": String(video.loop) });
  const speed = make("select", { "aria-label": "Speed" }, ...SPEEDS.map((v) => make("option", { value: v, selected: v === 1 }, `${v}x`)));
  speed.addEventListener("change", () => { video.playbackRate = Number(speed.value); });
  video.addEventListener("play", () => { play.textContent = "Pause"; });
  video.addEventListener("pause", () => { play.textContent = "Play"; });
  video.addEventListener("timeupdate", () => {
    place.textContent = `frame ${Math.min(frames, Math.floor(video.currentTime * frames / (video.duration || 1)) + 1)} of ${frames}`;
  });
  const bar = make("p", { className: "controls" }, play, button("− frame", () => step(-1)), button("+ frame", () => step(1)), loop, speed, place);
  bar.press = (key) => ({ " ": toggle, ",": () => step(-1), ".": () => step(1) })[key]?.();
  return bar;
}

const TALLEST = 1.5e7;  // pixels; browsers give up somewhat beyond
/** A list of which only the rows in sight exist; `row(n)` makes the n-th of `count()` rows, each `height` pixels. */
function virtual(host, body, height, count, row) {
  function draw(top = false) {
    if (top) host.scrollTop = 0;
    host.setAttribute("aria-rowcount", String(count() + 1));
    const all = count() * height, tall = Math.min(all, TALLEST), sight = host.clientHeight, rows = [];
    body.style.height = `${tall}px`;
    const at = tall > sight ? host.scrollTop / (tall - sight) * (all - sight) : 0;  // pixels of a list of full height
    const last = Math.min(count(), Math.ceil((at + sight) / height) + 4);
    for (let n = Math.max(0, Math.floor(at / height) - 4); n < last; n++) {
      const element = row(n);
      element.style.top = `${n * height - at + host.scrollTop}px`;
      rows.push(element);
    }
    const focused = body.contains(document.activeElement) ? document.activeElement.getAttribute("data-row") : null;
    body.replaceChildren(...rows);
    if (focused !== null) body.querySelector(`[data-row="${focused}"]`)?.focus({ preventScroll: true });
  }
  let waiting = 0;
  host.addEventListener("scroll", () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(() => draw()); });
  return draw;
}
