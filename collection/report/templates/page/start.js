// What the controls do, and the first drawing.
choices("split", D.splits, "Any split");
choices("flag", D.flags, "Any flag");
choices("column", NAMES, "Any value of ...");
choices("colour", ["split", "level", "source", ...D.flags.map((name) => `flag:${name}`), ...D.statistics], null);
const on = (id, event, act) => $(id).addEventListener(event, act);
const narrow = () => {
  const [low, high] = $("range").value.split("..").map((text) => text.trim());
  Object.assign(filter, { column: $("column").value, low: low ? Number(low) : -Infinity, high: high ? Number(high) : Infinity });
  update();
};
on("search", "input", (event) => { filter.text = event.target.value.toLowerCase(); update(); });
on("split", "change", (event) => { filter.split = event.target.value; update(); });
on("flag", "change", (event) => { filter.flag = event.target.value; update(); });
on("column", "change", narrow);
on("range", "change", narrow);
on("colour", "change", () => { plane.draw(); drawLegend(); });
on("clear", "click", () => { reset(); update(); });
on("all", "click", () => { shown.forEach((i) => picked.add(i)); countPicked(); table.draw(); });
on("none", "click", () => { picked.clear(); countPicked(); table.draw(); });
on("keys", "click", () => save("clips.csv", csv([["key"], ...chosen().map((i) => [D.key[i]])])));
on("sourcelist", "click", () => save("sources.csv", csv([["id", "url"], ...sourcesOf(chosen()).map((film) => [film.id, film.url])])));
on("reviewlist", "click", () => save("review.csv", review(chosen())));
on("exclusionlist", "click", async () => save("exclusions.txt", await exclusions(sourcesOf(chosen())), "text/plain"));
addEventListener("resize", () => { plane.draw(); table.draw(); });
addEventListener("keydown", (event) => {
  if (event.key === "/" && !["INPUT", "SELECT"].includes(event.target.tagName)) { event.preventDefault(); $("search").focus(); }
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", update);
buildGrid(); buildOutcomes(); buildStrips(); buildSplits(); buildSources(); buildScores(); drawLegend(); update();
document.documentElement.dataset.ready = "yes";
