// The data, and what of it is shown: filters narrow all clips down to `shown`, in the order of the table.
const D = JSON.parse($("data").textContent);
const N = D.key.length;
const floats = (text) => new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const numbers = Object.fromEntries(Object.entries(D.numbers).map(([name, text]) => [name, floats(text)]));
const NAMES = Object.keys(numbers);
const { s: S, t: T } = D.axes;
const split = (i) => D.splits[D.split[i]];
const source = (i) => D.sources[D.source[i]];
const flagsOf = (i) => D.flags.filter((_, bit) => (D.flag[i] >> bit) & 1);
const player = (i) => make("video", { src: D.previews[i], muted: true, loop: true, playsInline: true, preload: "metadata" });

const filter = { level: -1, text: "", split: "", flag: "", column: "", low: -Infinity, high: Infinity, only: null };
const EVERYTHING = { ...filter };
const known = D.sources.map((film) => [film.title, film.id, film.channel, film.licence, film.codec].join("\n").toLowerCase());
const keys = D.key.map((key) => key.toLowerCase());
let shown = [];
const order = { by: "key", up: true };
const picked = new Set();

function passes(i, text) {
  return (filter.level < 0 || D.level[i] === filter.level)
    && (!text || text[D.source[i]] || keys[i].includes(filter.text))
    && (!filter.split || split(i) === filter.split)
    && (!filter.flag || (D.flag[i] >> D.flags.indexOf(filter.flag)) & 1)
    && (!filter.column || (numbers[filter.column][i] >= filter.low && numbers[filter.column][i] <= filter.high))
    && (!filter.only || filter.only.has(i));
}

const SORTS = {
  key: () => ranks(D.key), title: () => { const rank = ranks(D.sources.map((film) => film.title)); return D.source.map((n) => rank[n]); },
  level: () => D.level, split: () => D.split, start: () => numbers.start_seconds, s: () => numbers[S.column], t: () => numbers[T.column], flags: () => D.flag,
};
const sorted = {};
const inOrder = () => (sorted[order.by] ||= ascending(SORTS[order.by]()));

function passing() {
  const text = filter.text && known.map((texts) => texts.includes(filter.text)), all = inOrder(), found = [];
  for (let n = 0; n < N; n++) { const i = all[order.up ? n : N - 1 - n]; if (passes(i, text)) found.push(i); }
  return found;
}

function update() {
  shown = passing();
  $("count").textContent = `${many(shown.length)} of ${many(N)} clips`;
  drawGrid(); plane.draw(); table.draw(true); drawHistograms();
}

/** Shows clips by their places, whatever was filtered before. */
function showOnly(clips) {
  reset();
  filter.only = new Set(clips);
  update();
  $("clips").scrollIntoView();
}

function reset() {
  Object.assign(filter, EVERYTHING);
  for (const id of ["search", "split", "flag", "column", "range"]) $(id).value = "";
}
