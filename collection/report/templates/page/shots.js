// Strips of frames: transitions that may be none, clips that may hide one, and transitions drawn at random.
const KINDS = {
  seam: ["Transitions that may be none", "The pictures before and after the line are more alike, by their fingerprints, than across any other transition of the dataset."],
  jump: ["Clips that may hide a transition", "Nowhere in the clips of the dataset does a picture change more against the rest of its clip than at these lines."],
  some: ["Transitions drawn at random", "The last frames of a clip, and after the line the first of the next."],
};

/** What the build called the transition between two clips; "" where nobody knows. */
function joining(a, b) {
  const found = D.timelines[D.source[a]].find(([kind, start]) => kind !== "shot" && start >= numbers.end_seconds[a] - 0.05 && start <= numbers.start_seconds[b] + 0.05);
  return found ? `${found[0]} at ${clock(found[1])}` : `at ${clock((numbers.end_seconds[a] + numbers.start_seconds[b]) / 2)}`;
}

function strip(one) {
  const inside = one.kind === "jump", word = inside ? `inside ${D.key[one.before]}` : joining(one.before, one.after);
  const picture = make("img", { src: `data:image/jpeg;base64,${one.picture}`, alt: `Frames, ${word}` });
  const links = [...new Set([one.before, one.after])].flatMap((i) => [button(D.key[i], () => openClip(i), { className: "open" }), " "]);
  return make("figure", {}, picture, make("figcaption", {}, ...links, make("span", { className: "soft" }, inside ? `${Math.round(one.bits)} bits above its median` : `${word}, ${Math.round(one.bits)} of 192 bits differ`)));
}

/** How often each kind of transition was found in the films of the dataset; nothing where nobody knows. */
function kindsOfTransitions() {
  const counts = new Map();
  for (const film of D.timelines) for (const [kind] of film) if (kind !== "shot") counts.set(kind, (counts.get(kind) || 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]).map(([kind, count]) => `${kind} ${many(count)}`).join(", ");
}

function buildStrips() {
  const found = kindsOfTransitions();
  if (found) $("strips").append(make("p", { className: "soft", id: "kindsfound" }, `Transitions in the films: ${found}.`));
  else if (!D.told) $("strips").append(make("p", { className: "soft" }, "Where the films were cut, and how, only the workspace of the build knows: run mlst report with --work and that folder."));
  for (const [kind, [title, told]] of Object.entries(KINDS)) {
    const found = D.strips.filter((one) => one.kind === kind);
    if (found.length) $("strips").append(make("h3", {}, title), make("p", { className: "soft" }, told), make("div", { className: "strips" }, ...found.map(strip)));
  }
  if (!D.strips.length) $("strips").append(make("p", { className: "soft" }, "No two clips of this dataset lie on either side of one transition, and no clip changes enough to be doubted."));
}
