// What became of every item; splits; sources; baselines.
function buildOutcomes() {
  const largest = Math.max(1, ...D.outcomes.map((line) => line.count));
  for (const line of D.outcomes) {
    const bar = make("i"), made = button("", () => listProblems(line), { className: line.status });
    bar.style.width = `${Math.max(2, 100 * line.count / largest)}%`;
    made.append(...[line.stage, line.status, line.kind, many(line.count)].map((text) => make("span", {}, text)), bar);
    $("outcomes").append(made);
  }
  if (!D.outcomes.length) $("outcomes").append(make("p", { className: "soft" }, "This page was made without the workspace of the build, or with one that has built another version since. Only it knows this, how the films were cut and how long each stage took: run mlst report again with --work and that folder."));
}

function listProblems(line) {
  const found = D.problems.filter((p) => p.stage === line.stage && p.kind === line.kind), advice = found.find((p) => p.advice)?.advice;
  const left = line.stage === "select" ? D.leftOut.filter((one) => one.reason === line.kind) : [];
  const parts = [make("h3", {}, `${line.stage}: ${line.kind || line.status}`)];
  if (advice) parts.push(make("p", {}, `${advice[0].toUpperCase()}${advice.slice(1)}.`));
  if (left.length) parts.push(sheet(["Level", "#Candidates"], left.map((one) => [one.level.toUpperCase(), many(one.count)]), "Left out by level"));
  if (found.length) parts.push(sheet(["Item", "What was said"], found.map((p) => [p.key, p.detail]), "Items"));
  if (!left.length && !found.length) parts.push(make("p", { className: "soft" }, "Nothing more is recorded for these items."));
  if (found.length && found.length < line.count) parts.push(make("p", { className: "soft" }, `${many(found.length)} of ${many(line.count)} are listed; the ledger has all.`));
  $("problems").replaceChildren(...parts);
}

function buildSplits() {
  const counts = D.splits.map(() => new Array(9).fill(0));
  for (let i = 0; i < N; i++) counts[D.split[i]][D.level[i]]++;
  const sum = (values) => values.reduce((a, b) => a + b, 0), all = counts.map(sum);
  const cell = (count, total) => (total ? `${many(count)} (${Math.round(100 * count / total)} %)` : "0");
  const rows = [...Array(9).keys()].map((n) => { const inside = counts.map((part) => part[n]); return [levelName(n), ...inside.map((count) => cell(count, sum(inside))), many(sum(inside))]; });
  const films = D.splits.map((_, part) => new Set(D.source.filter((_, i) => D.split[i] === part)).size);
  rows.push(["All clips", ...all.map((count) => cell(count, N)), many(N)], ["Sources", ...films.map(many), many(D.sources.length)]);
  $("balance").append(sheet(["Level", ...D.splits.map((name) => `#${name}`), "#all"], rows, "Clips by level and split"));
}

const LISTED = 500;
function buildSources() {
  const clips = new Array(D.sources.length).fill(0);
  D.source.forEach((n) => clips[n]++);
  const kinds = { Licence: (f) => f.licence, Codec: (f) => f.codec, Size: (f) => `${f.width}x${f.height}`, "Frames/s": (f) => fixed(f.rate), Channel: (f) => f.channel || "(none)" };
  for (const [title, of] of Object.entries(kinds)) {
    const sums = new Map();
    D.sources.forEach((film, n) => { const now = sums.get(of(film)) || [0, 0, 0]; sums.set(of(film), [now[0] + 1, now[1] + clips[n], now[2] + film.seconds]); });
    const rows = [...sums].sort((a, b) => b[1][0] - a[1][0]).slice(0, 12).map(([name, [count, inside, seconds]]) => [name, many(count), many(inside), clock(seconds)]);
    $("kinds").append(make("div", { className: "card scroll", tabIndex: 0, role: "group", "aria-label": `Sources by ${title.toLowerCase()}` }, sheet([title, "#Sources", "#Clips", "#Length"], rows, `Sources by ${title.toLowerCase()}`), sums.size > 12 ? make("p", { className: "soft" }, `and ${many(sums.size - 12)} more`) : ""));
  }
  const rows = D.sources.slice(0, LISTED).map((f, n) => [button(f.id, () => showOnly(ofSource(n)), { className: "open" }), f.title, f.channel, f.licence, `${f.width}x${f.height}`, fixed(f.rate), f.codec, clock(f.seconds), many(clips[n])]);
  $("films").append(sheet(["Source", "Title", "Channel", "Licence", "#Size", "#Frames/s", "Codec", "#Length", "#Clips"], rows, "Sources"));
  if (D.sources.length > LISTED) $("films").append(make("p", { className: "soft" }, `and ${many(D.sources.length - LISTED)} more; the index has them all`));
}

function buildScores() {
  const groups = new Map();
  for (const one of D.scores) {
    const name = `${one.metric}, ${one.split}: ${one.protocol}`;
    groups.set(name, [...(groups.get(name) || []), one]);
  }
  for (const [name, models] of groups) {
    const levels = [...new Set(models.flatMap((one) => one.groups.map(([level]) => level)))];
    const clips = (level) => models.flatMap((one) => one.groups).find((group) => group[0] === level)[1];
    const value = (one, level) => { const group = one.groups.find((g) => g[0] === level); return group ? String(Number(group[2].toPrecision(4))) : ""; };
    $("scores").append(make("h3", {}, name), make("div", { className: "scroll", tabIndex: 0, role: "group", "aria-label": name }, sheet(["Model", ...levels.map((level) => `#${level.toUpperCase()} (${clips(level)})`)], models.map((one) => [one.label, ...levels.map((level) => value(one, level))]), name)));
  }
}
