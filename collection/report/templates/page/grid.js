// The 3 x 3 grid.
const WHOLE = (D.leftOut || []).reduce((found, one) => ({ ...found, [one.level.toUpperCase()]: [...(found[one.level.toUpperCase()] || []), one] }), {});

function drawGrid() {
  document.querySelectorAll(".level").forEach((cell, n) => {
    cell.classList.toggle("on", filter.level === n);
    cell.querySelector("button").setAttribute("aria-pressed", String(filter.level === n));
  });
}

function buildGrid() {
  const counts = new Array(9).fill(0);
  D.level.forEach((n) => counts[n]++);
  for (let n = 0; n < 9; n++) {
    const [s, t] = [n % 3, Math.floor(n / 3)];
    const name = make("button", { type: "button", "aria-pressed": "false" }, make("b", {}, levelName(n)), ` ${many(counts[n])} clips`,
      make("div", { className: "soft" }, `${WORDS[s]} texture, ${WORDS[t]} motion`));
    name.addEventListener("click", () => { filter.level = filter.level === n ? -1 : n; update(); });
    const clips = make("div", { className: "clips" });
    for (const i of D.inGrid.filter((i) => D.level[i] === n)) {
      const video = player(i), cell = button(video, () => openClip(i), { "aria-label": `Clip ${D.key[i]}`, title: D.key[i] });
      onAttention(cell, video);
      clips.append(cell);
    }
    if (!counts[n]) clips.append(make("p", { className: "soft" }, missing(n)));
    $("grid").append(make("div", { className: "level" }, name, clips));
  }
}

/** What would fill an empty level. */
function missing(n) {
  const wanted = `It would take clips with ${between(S.cuts, n % 3, S.title)} and ${between(T.cuts, Math.floor(n / 3), T.title)}.`;
  const left = WHOLE[levelName(n)] || [];
  const told = left.map((one) => `${one.count} (${one.reason})`).join(", ");
  if (!D.told) return `No clip. ${wanted}`;
  return left.length ? `No clip: candidates were left out, ${told}. ${wanted}` : `No clip, and no candidate. ${wanted}`;
}
const between = (cuts, n, name) => [`${name} below ${cuts[0]}`, `${name} from ${cuts[0]} to ${cuts[1]}`, `${name} of ${cuts[1]} or more`][n];
