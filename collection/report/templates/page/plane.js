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

  let paint = {};
  const tint = (name) => (paint[name] ||= colour(name));
  function shade(i, by) {
    if (by === "split") return tint(split(i));
    if (by === "level") return `hsl(${D.level[i] * 40} 65% 50%)`;
    if (by === "source") return `hsl(${(D.source[i] * 137.5) % 360} 60% 50%)`;
    if (by.startsWith("flag:")) return (D.flag[i] >> D.flags.indexOf(by.slice(5))) & 1 ? tint("mark") : tint("line");
    const values = numbers[by], [low, high] = limits(by);
    return `hsl(${250 - 210 * Math.min(1, Math.max(0, (values[i] - low) / (high - low || 1)))} 75% 50%)`;
  }
  const known = {};
  function limits(name) {
    if (!known[name]) { const all = Float32Array.from(numbers[name]).sort(); known[name] = [all[Math.floor(N * 0.02)], all[Math.floor(N * 0.98)]]; }
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
    const tints = {}, by = $("colour").value;
    paint = {};
    for (let i = 0; i < N; i++) if (inside[i]) (tints[shade(i, by)] ||= []).push(i);
    context.fillStyle = colour("line"); context.globalAlpha = 0.5;
    for (let i = 0; i < N; i++) if (!inside[i]) context.fillRect(px(X[i]) - 1, py(Y[i]) - 1, 2, 2);
    context.globalAlpha = 0.8;
    for (const [shade, members] of Object.entries(tints)) {
      context.fillStyle = shade;
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
    filter.only = null;
    filter.only = new Set(passing().filter((i) => X[i] >= x0 && X[i] <= x1 && Y[i] >= y0 && Y[i] <= y1)); update();
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
  $("unselect").addEventListener("click", () => { filter.only = null; update(); });
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

