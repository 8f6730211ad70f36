"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const make = (tag, facts = {}, ...inside) => {
  const element = Object.assign(document.createElement(tag), facts);
  element.append(...inside);
  return element;
};
const shown = (value, decimals) => value === null ? "–" : value.toFixed(decimals).replace("-", "−");

// Tables: the button in a header sorts, best first. Rows without a value stay at the end.
function sortBy(button) {
  const header = button.closest("th");
  const rows = header.closest("table").tBodies[0];
  const column = header.cellIndex;
  const now = header.getAttribute("aria-sort");
  const first = button.dataset.first || "ascending";
  const order = now === null ? first : now === "ascending" ? "descending" : "ascending";
  for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const key = (row) => {
    const cell = row.cells[column];
    if (cell.dataset.v === undefined) return null;
    return button.dataset.words ? cell.dataset.v : Number(cell.dataset.v);
  };
  const compare = (a, b) => typeof a === "string" ? a.localeCompare(b) : a - b;
  const sorted = [...rows.rows].map((row) => [key(row), row]);
  sorted.sort(([a], [b]) => a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b));
  rows.append(...sorted.map(([, row]) => row));
}
document.addEventListener("click", (event) => {
  const button = event.target.closest("thead button");
  if (button) sortBy(button);
});

// Switches for all tables.
for (const [id, name, when] of [["show-intervals", "with-intervals", true], ["show-quoted", "without-quoted", false]]) {
  const box = document.getElementById(id);
  const set = () => document.body.classList.toggle(name, box.checked === when);
  box.addEventListener("change", set);
  set();
}

// One tooltip for all elements with data-tip. Pointer and focus open it.
const tip = document.getElementById("tip");
function showTip(event) {
  const about = event.target.closest("[data-tip]");
  tip.hidden = !about;
  if (!about) return;
  tip.textContent = about.dataset.tip;
  const place = about.getBoundingClientRect();
  const left = Math.min(place.left, innerWidth - tip.offsetWidth - 8);
  const below = place.bottom + 6 + tip.offsetHeight < innerHeight;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${below ? place.bottom + 6 : place.top - tip.offsetHeight - 6}px`;
}
for (const kind of ["mouseover", "focusin"]) document.addEventListener(kind, showTip);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
document.addEventListener("scroll", () => { tip.hidden = true; }, true);

// Returns the place of each value, as in the tables: 1, 2, 3, or 0 for the rest. Equal values share the better place.
function places(values, better) {
  const found = values.filter((value) => value !== null);
  if (better === "neither") return values.map(() => 0);
  return values.map((value) => {
    if (value === null) return 0;
    const place = 1 + found.filter((other) => better === "lower" ? other < value : other > value).length;
    return place <= 3 && values.length > place ? place : 0;
  });
}

function tableOf(head, rows) {
  const headers = head.map(({ text, about, first, words }) => {
    const button = make("button", { type: "button", textContent: text });
    if (about) button.dataset.tip = about;
    if (words) button.dataset.words = "1";
    button.dataset.first = first || "ascending";
    return make("th", { scope: "col" }, button);
  });
  return make("table", {}, make("thead", {}, make("tr", {}, ...headers)), make("tbody", {}, ...rows));
}

function figureCell(value, decimals, place, reason) {
  const cell = make("td", { textContent: shown(value, decimals), className: place ? `p${place}` : "" });
  if (value !== null) cell.dataset.v = value;
  if (reason) cell.dataset.tip = reason;
  return cell;
}

const directionOf = (metric) => metric.better === "lower" ? "ascending" : "descending";
const aboutMetric = (metric) => ({ text: metric.label, about: metric.about, first: directionOf(metric) });

// The scenes of a data set: their pictures side by side, one zoom box for all of them, and their scores.
class Browser {
  constructor(root) {
    this.root = root;
    this.number = Number(root.dataset.set);
    this.set = DATA.sets[this.number];
    const part = (role) => root.querySelector(`[data-role="${role}"]`);
    Object.assign(this, { select: part("scene"), layer: part("layer"), zoom: part("zoom"), metric: part("metric") });
    Object.assign(this, { note: part("note"), cards: part("cards"), scores: part("scores"), grid: part("grid") });
    this.centre = [0.5, 0.5];
    this.views = [];
    this.open = false;
    this.select.addEventListener("change", () => this.show());
    this.layer.addEventListener("change", () => this.show());
    this.zoom.addEventListener("change", () => this.drawBoxes());
    this.metric.addEventListener("change", () => { this.caption(); this.drawGrid(); });
    for (const button of root.querySelectorAll("[data-step]")) {
      button.addEventListener("click", () => this.step(Number(button.dataset.step)));
    }
    this.grid.closest("details").addEventListener("toggle", () => this.drawGrid());
    new ResizeObserver(() => this.drawBoxes()).observe(this.cards);
    const watch = new IntersectionObserver((seen) => {
      if (seen.some((entry) => entry.isIntersecting) && !this.open) { watch.disconnect(); this.show(); }
    }, { rootMargin: "300px" });
    watch.observe(root);
  }

  get scene() { return this.set.scenes[this.select.selectedIndex]; }

  step(by) {
    const count = this.set.scenes.length;
    this.select.selectedIndex = (this.select.selectedIndex + by + count) % count;
    this.show();
  }

  show() {
    this.open = true;
    const store = document.getElementById(`pictures-${this.number}-${this.select.selectedIndex}`);
    this.pictures = store ? JSON.parse(store.textContent) : null;
    this.layer.parentNode.hidden = !this.pictures || this.pictures.gain === null;
    const errors = this.layer.value === "error" && !this.layer.parentNode.hidden;
    this.note.textContent = this.noteText(errors);
    this.views = [];
    const panels = this.pictures ? this.pictures.panels : [];
    this.cards.replaceChildren(...panels.map((panel) => this.card(panel, errors)));
    this.caption();
    this.drawScores();
  }

  noteText(errors) {
    const found = this.pictures;
    if (!found) return "This page has no pictures of this scene; its last section says why.";
    const size = `${found.width} × ${found.height} pixels`;
    const drawn = found.drawn_width === found.width ? "" : `, shown ${found.drawn_width} pixels wide`;
    const gain = errors ? ` Errors are the mean of |picture − truth| over R, G and B, times ${found.gain}.` : "";
    return `${size}${drawn}. Drag on a picture, or focus one and use the arrow keys (Shift moves farther, + and − zoom).${gain}`;
  }

  card(panel, errors) {
    const score = make("span", { className: "soft" });
    const card = make("figure", { className: `card ${panel.kind}` },
      make("figcaption", {}, make("b", { textContent: panel.label, title: panel.label }), score));
    const data = errors && panel.kind === "method" ? panel.error : panel.data;
    const view = { panel, score, card };
    this.views.push(view);
    if (!data) {
      card.append(make("p", { className: "absent", textContent: panel.absent || "No error map: sizes differ." }));
      return card;
    }
    view.image = make("img", { alt: `${panel.label}, ${this.scene.name}`, draggable: false, decoding: "async" });
    view.image.addEventListener("load", () => this.drawBoxes(view));
    view.image.src = `data:image/webp;base64,${data}`;
    view.box = make("i");
    view.canvas = make("canvas", { role: "img", ariaLabel: `${panel.label}: the part in the zoom box` });
    view.stage = make("div", { className: "stage", tabIndex: 0, role: "group" }, view.image, view.box);
    view.stage.setAttribute("aria-label", `${panel.label}: arrow keys move the zoom box`);
    this.listen(view.stage);
    card.append(view.stage, view.canvas);
    return card;
  }

  listen(stage) {
    const follow = (event) => {
      const place = stage.getBoundingClientRect();
      this.move((event.clientX - place.left) / place.width, (event.clientY - place.top) / place.height);
    };
    stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); follow(event); });
    stage.addEventListener("pointermove", (event) => { if (stage.hasPointerCapture(event.pointerId)) follow(event); });
    stage.addEventListener("keydown", (event) => {
      const far = event.shiftKey ? 0.1 : 0.02;
      const by = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] }[event.key];
      const zoom = { "+": 1, "=": 1, "-": -1 }[event.key];
      if (zoom) {
        const last = this.zoom.options.length - 1;
        this.zoom.selectedIndex = Math.min(last, Math.max(0, this.zoom.selectedIndex + zoom));
        this.drawBoxes();
      } else if (by) {
        this.move(this.centre[0] + by[0], this.centre[1] + by[1]);
      } else {
        return;
      }
      event.preventDefault();
    });
  }

  move(x, y) {
    this.centre = [x, y];
    this.drawBoxes();
  }

  // Returns the part of the scene that a canvas shows, in pixels of the scene. It stays inside the picture.
  region(wide, high) {
    const { width, height } = this.pictures;
    const zoom = Number(this.zoom.value);
    const w = Math.min(width, wide / zoom);
    const h = Math.min(height, high / zoom);
    const inside = (centre, part) => Math.min(1 - part / 2, Math.max(part / 2, centre));
    this.centre = [inside(this.centre[0], w / width), inside(this.centre[1], h / height)];
    return { w, h, left: this.centre[0] * width - w / 2, top: this.centre[1] * height - h / 2, zoom };
  }

  drawBoxes(only) {
    for (const view of only ? [only] : this.views) {
      if (!view.image || !view.image.naturalWidth || !view.canvas.clientWidth) continue;
      const wide = view.canvas.clientWidth;
      const high = Math.round(wide * 0.66);
      const ratio = devicePixelRatio || 1;
      view.canvas.width = Math.round(wide * ratio);
      view.canvas.height = Math.round(high * ratio);
      const { w, h, left, top, zoom } = this.region(wide, high);
      const { width, height } = this.pictures;
      const scale = view.image.naturalWidth / width;
      const paint = view.canvas.getContext("2d");
      paint.imageSmoothingEnabled = zoom < 2 * scale;
      const [across, down] = [w * zoom * ratio, h * zoom * ratio];
      paint.drawImage(view.image, left * scale, top * scale, w * scale, h * scale,
        (view.canvas.width - across) / 2, (view.canvas.height - down) / 2, across, down);
      Object.assign(view.box.style, {
        left: `${100 * left / width}%`, top: `${100 * top / height}%`,
        width: `${100 * w / width}%`, height: `${100 * h / height}%`,
      });
    }
  }

  caption() {
    const column = this.metric.selectedIndex;
    const metric = this.set.metrics[column];
    for (const { panel, score } of this.views) {
      const row = this.set.methods.indexOf(panel.label);
      const measured = panel.kind === "method" && row >= 0 && metric;
      // Only the figure: the list above names the metric, and a name here would take a second line and move pictures.
      score.textContent = measured ? shown(this.scene.values[row][column], metric.decimals) : panel.kind;
    }
  }

  drawScores() {
    const { methods, metrics } = this.set;
    const scene = this.scene;
    const marks = metrics.map((metric, column) => places(scene.values.map((row) => row[column]), metric.better));
    const rows = methods.map((method, row) => {
      const name = make("th", { scope: "row", textContent: method });
      name.dataset.v = method;
      return make("tr", {}, name, ...metrics.map((metric, column) =>
        figureCell(scene.values[row][column], metric.decimals, marks[column][row], scene.reasons[`${row},${column}`])));
    });
    this.scores.replaceChildren(tableOf([{ text: "method", words: true }, ...metrics.map(aboutMetric)], rows));
  }

  drawGrid() {
    if (!this.grid.closest("details").open) return;
    const column = this.metric.selectedIndex;
    const metric = this.set.metrics[column];
    const rows = this.set.scenes.map((scene, index) => {
      const button = make("button", { type: "button", className: "link", textContent: scene.name });
      button.addEventListener("click", () => {
        this.select.selectedIndex = index;
        this.show();
        this.root.scrollIntoView();
        this.select.focus();
      });
      const values = scene.values.map((row) => row[column]);
      const marks = places(values, metric.better);
      const name = make("th", { scope: "row" }, button);
      name.dataset.v = scene.name;
      return make("tr", {}, name, ...values.map((value, row) =>
        figureCell(value, metric.decimals, marks[row], scene.reasons[`${row},${column}`])));
    });
    const head = this.set.methods.map((method) => ({ text: method, first: directionOf(metric) }));
    this.grid.replaceChildren(
      make("p", { className: "soft", textContent: `${metric.label}: ${metric.title}. The metric is chosen above.` }),
      make("div", { className: "scroll" }, tableOf([{ text: "scene", words: true }, ...head], rows)));
  }
}
for (const root of document.querySelectorAll(".browser")) new Browser(root);
