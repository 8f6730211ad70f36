// The result of a job: a sentence, views of it, and the download.

import { begin, follow } from "./api.js";
import { $, announce, make } from "./dom.js";
import { Viewer } from "./viewer.js";

const FORMATS = { png: "PNG", tiff: "TIFF", jpeg: "JPEG" };
const SUFFIX_FORMATS = { png: "png", tif: "tiff", jpg: "jpeg" };
const PART_NAMES = { common: "Common to both", unique_a: "Only in the first", unique_b: "Only in the second" };
const MAP_NAMES = {
  source_map: "Source map",
  depth_map: "Depth map",
  ghost_mask: "Movement",
};
const MAP_LEGENDS = {
  depth_map: "Black is where the first frame is sharp, white where the last is.",
  ghost_mask: "White is where something moved. Each such place is shown as one frame has it.",
};

export class Result {
  // `failed` is called with each error.
  constructor(job, sources, options, failed) {
    this.job = job;
    this.sources = sources;
    this.ids = sources.ids; // the fused ones; pictures may be added later
    this.options = options;
    this.failed = failed;
    this.against = sources.ready[0];
    this.ending = new AbortController();
    this.fused = { ...job.results.fused, ...job.facts, name: "Fused", alt: "The fused picture" };
    this.made = { [SUFFIX_FORMATS[job.results.fused.name.split(".").pop()]]: job };
  }

  show() {
    $("outcome").hidden = false;
    $("sentence").textContent = this.job.facts.sentence.replace(/(\d)x(\d)/, "$1×$2");
    this.#showNotes();
    this.#showFormats();
    const views = this.#views();
    const tabs = views.map(([name, draw]) =>
      make("button", { role: "tab", "aria-controls": "panel", onclick: (event) => this.#open(event.currentTarget, draw) }, name),
    );
    $("tabs").replaceChildren(...tabs);
    $("tabs").hidden = tabs.length < 2;
    $("tabs").onkeydown = (event) => this.#keys(event, tabs);
    this.#open(tabs[0], views[0][1]);
    const outcome = $("outcome");
    const fits = outcome.getBoundingClientRect().bottom <= window.innerHeight;
    outcome.classList.toggle("tall", !fits); // so that the page can be scrolled until it is at the top
    if (!fits) outcome.scrollIntoView();
    announce(`Done. ${this.job.facts.sentence}`);
  }

  compareWith(source) {
    this.against = source;
    const first = $("tabs").firstElementChild;
    this.#open(first, () => this.#compared());
  }

  close() {
    this.ending.abort();
    this.viewer?.close();
    $("outcome").hidden = true;
    $("panel").replaceChildren();
    this.sources.mark(null);
  }

  // The name of each view and the function that draws it.
  #views() {
    const views = [["Result", () => this.#compared()]];
    if (this.job.facts.sources === 2) views.push(["Parts", () => this.#parts()]);
    for (const [name, title] of Object.entries(MAP_NAMES)) {
      const map = this.job.results[name];
      if (map) views.push([title, () => this.#map(name, title, map)]);
    }
    if (this.job.facts.alignment) views.push(["Alignment", () => this.#alignment()]);
    return views;
  }

  #open(tab, draw) {
    for (const each of $("tabs").children) {
      const chosen = each === tab;
      each.setAttribute("aria-selected", String(chosen));
      each.tabIndex = chosen ? 0 : -1;
    }
    $("panel").setAttribute("aria-label", tab.textContent);
    this.viewer?.close();
    this.viewer = null;
    this.sources.mark(null);
    draw();
  }

  #keys(event, tabs) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    next.focus();
    next.click();
  }

  #compared() {
    this.sources.mark(this.against);
    this.#look(new Viewer({ ...this.against.facts, alt: `Source ${this.against.name}` }, this.fused, this.failed));
  }

  #map(name, title, map) {
    const legend = name === "source_map" ? this.#colours() : make("p", { class: "legend" }, MAP_LEGENDS[name]);
    this.#look(this.#viewerOf(title, map), legend);
  }

  #viewerOf(title, picture) {
    return new Viewer(null, { ...this.fused, ...picture, name: title, alt: title }, this.failed);
  }

  // Says which colour of the source map stands for which frame.
  #colours() {
    const entries = this.job.facts.frames.map(({ file, colour }) => {
      const swatch = make("i");
      swatch.style.background = `rgb(${colour})`;
      return make("li", {}, swatch, file);
    });
    return make("ul", { class: "legend", "aria-label": "Frames" }, ...entries);
  }

  #look(viewer, ...below) {
    this.viewer = viewer;
    $("panel").replaceChildren(viewer.element, ...below);
    viewer.fit(); // the page is scrolled next, so the height has to be known
  }

  async #parts() {
    const waiting = make("p", { class: "waiting" }, "Computing the parts…");
    $("panel").replaceChildren(waiting);
    try {
      this.partsJob ??= await this.#done("decompose", this.options);
    } catch (error) {
      if (waiting.isConnected) waiting.textContent = error.message;
      return;
    }
    if (!waiting.isConnected) return; // another view was chosen meanwhile
    const figures = Object.entries(PART_NAMES).map(([name, title]) => {
      const { links } = this.partsJob.results[name];
      return make(
        "figure",
        {},
        make("img", { src: links.preview, alt: title, width: this.fused.width, height: this.fused.height }),
        make("figcaption", {}, title, make("a", { href: links.file, download: "", "aria-label": `Download: ${title}` }, "Download")),
      );
    });
    $("panel").replaceChildren(make("div", { class: "parts" }, ...figures));
  }

  #alignment() {
    const row = (cell, values) =>
      make("tr", {}, ...values.map((value, at) => make(cell, at > 2 ? { class: "number" } : {}, String(value))));
    const frames = this.job.facts.alignment.frames.map((frame) =>
      row("td", [
        frame.file,
        !frame.aligned ? "not moved" : frame.model === "identity" ? "in place" : "moved",
        frame.model === "identity" ? "" : frame.model ?? "",
        frame.residual_px == null ? "" : frame.residual_px.toFixed(2),
        frame.confidence == null ? "" : frame.confidence.toFixed(2),
        frame.coverage == null ? "" : `${Math.round(100 * frame.coverage)} %`,
      ]),
    );
    const head = row("th", ["Frame", "State", "Motion", "Residual, px", "Confidence", "Covered"]);
    const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...frames));
    const frame = make("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Alignment" }, table);
    const residual = this.job.results.residual_map;
    if (!residual) {
      $("panel").replaceChildren(frame);
      return;
    }
    const legend = make("p", { class: "legend" }, "The brighter a place, the farther its frame is out of line.");
    this.#look(this.#viewerOf("Alignment residual", residual), legend);
    $("panel").prepend(frame);
  }

  #showNotes() {
    const { notes } = this.job.facts;
    $("notes").hidden = !notes.length;
    $("notes").querySelector("summary").textContent = notes.length === 1 ? "1 note" : `${notes.length} notes`;
    $("notes").querySelector("ul").replaceChildren(...notes.map((note) => make("li", {}, note)));
  }

  #showFormats() {
    const [own] = Object.keys(this.made);
    const choices = Object.entries(FORMATS).map(([value, text]) => make("option", { value, selected: value === own }, text));
    $("format").replaceChildren(...choices);
    $("download").onclick = () => this.#download($("format").value);
  }

  // Downloads the file that the command would write. Another format is fused again from the same sources, so that
  // it keeps the full depth.
  async #download(format) {
    const button = $("download");
    button.disabled = true;
    try {
      if (!this.made[format]) {
        button.textContent = "Writing…";
        this.made[format] = await this.#done("fuse", { ...this.options, format });
      }
      make("a", { href: this.made[format].results.fused.links.file, download: "" }).click();
    } catch (error) {
      this.failed(error);
    } finally {
      button.disabled = false;
      button.textContent = "Download";
    }
  }

  async #done(work, options) {
    return follow(await begin(work, this.ids, options), () => {}, this.ending.signal);
  }
}
