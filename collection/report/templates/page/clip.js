// One clip, in a dialog.
const below = (name, i) => { let count = 0; for (let j = 0; j < N; j++) count += numbers[name][j] < numbers[name][i]; return count / N; };
const partners = new Map();
for (const [a, b] of D.alike) for (const [one, other] of [[a, b], [b, a]]) partners.set(one, [...(partners.get(one) || []), other]);
const copies = new Map();
for (const [kept, key, reason] of D.copies) copies.set(kept, [...(copies.get(kept) || []), `${key} (${reason})`]);
const ofSource = (n) => D.source.reduce((found, m, i) => { if (m === n) found.push(i); return found; }, []);

/** Shots and transitions of a film: [kind, start, end] in seconds. Without a build, the shots that have clips. */
function timeline(n, clips) {
  if (D.timelines[n].length) return D.timelines[n];
  const rate = D.sources[n].rate, shots = new Map();
  for (const j of clips) {
    const start = numbers.start_seconds[j] - (D.first_frame[j] - D.shot_start[j]) / rate;
    shots.set(D.shot[j], ["shot", Math.max(0, start), start + (D.shot_end[j] - D.shot_start[j]) / rate]);
  }
  return [...shots.values()];
}

function drawFilm(i) {
  const SVG = "http://www.w3.org/2000/svg";
  const shape = (tag, attributes, name) => {
    const element = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (name) { element.append(document.createElementNS(SVG, "title")); element.firstChild.textContent = name; }
    return element;
  };
  const n = D.source[i], clips = ofSource(n), parts = timeline(n, clips);
  const length = Math.max(D.sources[n].seconds, ...clips.map((j) => numbers.end_seconds[j]), ...parts.map((part) => part[2])) || 1;
  const x = (seconds) => seconds / length * 1000, svg = shape("svg", { class: "film", viewBox: "0 0 1000 48", preserveAspectRatio: "none", role: "img", "aria-label": `The film: ${parts.filter((part) => part[0] === "shot").length} shots, ${clips.length} clips in the dataset` });
  svg.append(shape("rect", { x: 0, y: 31, width: 1000, height: 14, class: "rest" }));
  for (const [kind, start, end] of parts) {
    const name = `${kind}, ${clock(start)}${end > start ? ` to ${clock(end)}` : ""}`;
    if (kind === "shot") svg.append(shape("rect", { x: x(start), y: 31, width: Math.max(1, x(end - start) - 1.5), height: 14, class: "shot" }, name));
    else svg.append(shape("rect", { x: x(start) - 1.5, y: 26, width: Math.max(3, x(end - start)), height: 22, class: "edge" }, name));
  }
  for (const j of clips) {
    const width = Math.max(3, x(numbers.end_seconds[j] - numbers.start_seconds[j]) - 2);
    const clip = shape("rect", { x: x(numbers.start_seconds[j]), y: 2, width, height: 20, rx: 2, class: j === i ? "clip here" : "clip" }, `${D.key[j]}, ${levelName(D.level[j])}, shot ${D.shot[j]}`);
    clip.addEventListener("click", () => openClip(j));
    svg.append(clip);
  }
  const counted = new Map();
  for (const [kind] of parts) counted.set(kind, (counted.get(kind) || 0) + 1);
  const told = [...counted].map(([kind, count]) => `${count} ${kind}${count > 1 ? "s" : ""}`).join(", ");
  return make("div", {}, svg, make("p", { className: "soft" }, `Above, the clips of the dataset; below, the shots of the film with the transitions between them: ${told}.`));
}

function picture(i) {
  if (!D.previews[i]) return [make("p", { className: "soft" }, `There is no preview of this clip in this page; "mlst view" plays every clip. Its video is ${many(D.size[i])} bytes from byte ${many(D.offset[i])} of ${D.shards[D.shard[i]]}.`)];
  const video = player(i), bar = controls(video, D.frames);
  video.play().catch(() => {});
  $("clip").press = bar.press;
  return [video, bar];
}

function record(i) {
  const film = source(i), link = /^https?:\/\//.test(film.url) ? make("a", { href: film.url, rel: "noreferrer noopener", target: "_blank" }, film.url) : film.url;
  const rows = [["Source", film.title || film.id], ["Address", link], ["Channel", film.channel], ["Licence", film.licence],
    ["Video", `${film.width}x${film.height}, ${fixed(film.rate)} frames/s, ${film.codec}`], ["Level", `${levelName(D.level[i])}, ${split(i)}`],
    ["Time", `${clock(numbers.start_seconds[i])} to ${clock(numbers.end_seconds[i])}`],
    ["Shot", `number ${D.shot[i]}, frames ${D.shot_start[i]} to ${D.shot_end[i] - 1}`], ["Flags", flagsOf(i).join(", ") || "none"]];
  return make("table", { className: "record" }, make("tbody", {}, ...rows.map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value)))));
}

function duplicates(i) {
  const near = partners.get(i) || [], left = copies.get(i) || [];
  if (!near.length && !left.length) return make("p", { className: "soft" }, "No other clip shows the same footage, by its fingerprint.");
  const list = make("p", {}, ...near.slice(0, 20).flatMap((j) => [button(D.key[j], () => openClip(j)), " "]));
  if (near.length > 1) list.append(button("Show them all", () => { $("clip").close(); showOnly([i, ...near]); }));
  const told = left.length ? make("p", { className: "soft" }, `Left out for this one: ${left.slice(0, 20).join(", ")}${left.length > 20 ? ` and ${left.length - 20} more` : ""}.`) : "";
  return make("div", {}, list, told);
}

function statistics(i) {
  return sheet(["Statistic", "#Value", "Among all clips"], D.statistics.map((name) => {
    const share = below(name, i), bar = make("span", { className: "rank", role: "img", "aria-label": `above ${Math.round(100 * share)} % of the clips` }, make("i"));
    bar.firstChild.style.left = `${100 * share}%`;
    return [name, fixed(numbers[name][i]), bar];
  }), "Statistics");
}

function openClip(i) {
  const dialog = $("clip"), at = shown.indexOf(i);
  const go = (step) => { if (at >= 0 && shown[at + step] !== undefined) openClip(shown[at + step]); };
  dialog.press = null;
  dialog.go = go;
  const bar = make("div", { className: "titlebar" }, make("h2", { id: "cliptitle" }, D.key[i]), button("← Previous", () => go(-1), { disabled: at < 1 }),
    button("Next →", () => go(1), { disabled: at < 0 || at + 1 >= shown.length }), button("Close", () => dialog.close()));
  const left = make("div", {}, ...picture(i)), right = make("div", {}, record(i));
  dialog.replaceChildren(bar, make("div", { className: "pair" }, left, right), make("h3", {}, "In its film"), drawFilm(i),
    make("h3", {}, "The same footage"), duplicates(i), make("h3", {}, "Statistics"), statistics(i));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

$("clip").addEventListener("keydown", (event) => {
  if (["INPUT", "SELECT", "BUTTON"].includes(event.target.tagName) && event.key === " ") return;
  if (event.key === "ArrowLeft") $("clip").go(-1);
  else if (event.key === "ArrowRight") $("clip").go(1);
  else if (" ,.".includes(event.key) && $("clip").press) $("clip").press(event.key);
  else return;
  event.preventDefault();
});
$("clip").addEventListener("close", () => $("clip").replaceChildren());
