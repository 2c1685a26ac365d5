// Histograms of the clips shown.
const ranges = {};
function range(name) {
  if (!ranges[name]) { const all = Float32Array.from(numbers[name]).sort(); ranges[name] = [all[0], all[Math.floor((N - 1) * 0.995)]]; }
  return ranges[name];
}

function histogram(name, members) {
  const values = numbers[name], BINS = 40, [low, high] = range(name);
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

