// Shows two pictures with a divider between them. Small copies come first; the first zoom loads OpenSeadragon and
// its tiles.

import { ask } from "./api.js";
import { make } from "./dom.js";

const KEYS = { "+": "in", "=": "in", "-": "out", 0: "fit", 1: "full" };
const STEP = 1.6;

let library = null;

// OpenSeadragon is no ES module, so a script element loads it, once.
function openSeadragon() {
  library ??= new Promise((resolve, reject) => {
    const script = make("script", { src: "page/vendor/openseadragon/openseadragon.min.js" });
    script.onload = () => resolve(window.OpenSeadragon);
    script.onerror = () => {
      library = null;
      reject(new Error("The viewer could not be loaded."));
    };
    document.head.append(script);
  });
  return library;
}

export class Viewer {
  // Shows `left` and `right`, each `{ links, name }`, or `right` alone. `failed` is called when tiles cannot be loaded.
  constructor(left, right, failed) {
    this.failed = failed;
    this.panes = [left, right].filter(Boolean).map((picture) => this.#pane(picture));
    this.percent = make("output", { "aria-label": "Zoom level" });
    this.element = make("div", { class: "stage" }, left ? this.#slider() : this.panes[0].element, this.#zoomBar());
    if (left) {
      this.element.append(
        make("span", { class: "badge left" }, left.name),
        make("span", { class: "badge right" }, right.name),
      );
    }
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.element.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.element.addEventListener("dblclick", (event) => this.#double(event));
    this.fitting = new ResizeObserver(() => this.fit());
    this.fitting.observe(this.element);
    this.size = [right.width || 3, right.height || 2];
  }

  close() {
    this.fitting.disconnect();
    for (const pane of this.panes) pane.deep?.destroy();
  }

  #pane(picture) {
    const image = make("img", { src: picture.links.preview, alt: picture.alt || picture.name, draggable: false });
    return { picture, image, element: make("div", { class: "pane" }, image), deep: null };
  }

  #slider() {
    import("./vendor/img-comparison-slider/index.js");
    const [first, second] = this.panes;
    first.element.slot = "first";
    second.element.slot = "second";
    const knob = make("div", { class: "knob", slot: "handle" });
    knob.innerHTML = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M9 6l-6 6 6 6M15 6l6 6-6 6"/></svg>';
    const slider = make(
      "img-comparison-slider",
      { role: "slider", "aria-label": "Divider: source on the left, result on the right", tabindex: "0", value: "50" },
      first.element,
      second.element,
      knob,
    );
    const told = () => {
      slider.setAttribute("aria-valuenow", String(Math.round(slider.value ?? 50)));
    };
    slider.setAttribute("aria-valuemin", "0");
    slider.setAttribute("aria-valuemax", "100");
    slider.setAttribute("aria-valuenow", "50");
    slider.addEventListener("slide", told);
    this.slider = slider;
    return slider;
  }

  #zoomBar() {
    const button = (what, label, text, kind = "") =>
      make("button", { class: kind, "aria-label": label, title: label, onclick: () => this.zoom(what) }, text);
    return make(
      "div",
      { class: "zoom", role: "group", "aria-label": "Zoom" },
      button("out", "Zoom out", "−", "step"),
      this.percent,
      button("in", "Zoom in", "+", "step"),
      button("full", "One pixel of the picture per pixel of the screen", "100 %"),
      button("fit", "Whole picture", "Fit"),
    );
  }

  // Zooms "in" or "out", to "full" size or to "fit". The given point of the stage stays in place, or its middle.
  async zoom(what, at = null) {
    if (what === "fit" && !this.panes[0].deep) return;
    try {
      await this.#deepen();
    } catch (error) {
      this.failed(error);
      return;
    }
    const { viewport } = this.panes[0].deep;
    const about = at && viewport.pointFromPixel(new window.OpenSeadragon.Point(...at));
    this.leader = this.panes[0].deep;
    if (what === "fit") viewport.goHome();
    else if (what === "full") viewport.zoomTo(viewport.imageToViewportZoom(1 / devicePixelRatio), about);
    else viewport.zoomBy(what === "in" ? STEP : 1 / STEP, about);
    viewport.applyConstraints();
  }

  // Replaces each small copy by a viewer of tiles.
  #deepen() {
    this.deepened ??= this.#loadedDeep().catch((error) => {
      this.deepened = null;
      throw error;
    });
    return this.deepened;
  }

  async #loadedDeep() {
    this.percent.value = "…";
    const [library, ...cuts] = await Promise.all([
      openSeadragon(),
      ...this.panes.map((pane) => ask(pane.picture.links.tiles)),
    ]);
    await Promise.all(this.panes.map((pane, number) => this.#tiled(library, pane, cuts[number])));
    if (this.slider) this.slider.handle = true; // from now on only the knob moves the divider; a drag elsewhere moves the picture
  }

  #tiled(library, pane, cut) {
    const place = make("div", { class: "deep" });
    pane.element.append(place);
    const deep = library({
      element: place,
      tabIndex: -1, // keys control the divider and the stage
      showNavigationControl: false,
      animationTime: 0.25,
      maxZoomPixelRatio: 8,
      minZoomImageRatio: 1,
      visibilityRatio: 0.6,
      imageSmoothingEnabled: true,
      drawer: "canvas",
      crossOriginPolicy: false,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: false },
      gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: true },
      tileSources: {
        width: cut.width,
        height: cut.height,
        tileSize: cut.tile,
        tileOverlap: 0,
        minLevel: 0,
        maxLevel: cut.levels - 1,
        getTileUrl: (level, column, row) => `${pane.picture.links.tiles}/${level}/${column}/${row}`,
      },
    });
    pane.deep = deep;
    const leads = () => {
      this.leader = deep;
    };
    for (const event of ["canvas-press", "canvas-scroll", "canvas-pinch"]) deep.addHandler(event, leads);
    deep.addHandler("viewport-change", () => this.#followed(deep));
    return new Promise((resolve, reject) => {
      deep.addOnceHandler("open", () => {
        pane.image.alt = "";
        resolve();
      });
      deep.addOnceHandler("open-failed", () => reject(new Error("The tiles could not be loaded.")));
      deep.addOnceHandler("tile-drawn", () => pane.image.remove());
      deep.addOnceHandler("tile-load-failed", () => this.failed(new Error("Some tiles could not be loaded.")));
    });
  }

  // Gives the other viewer the position of the one that the user moves.
  #followed(deep) {
    if (this.leader !== deep) return;
    const { viewport } = deep;
    for (const pane of this.panes) {
      if (pane.deep && pane.deep !== deep) {
        pane.deep.viewport.zoomTo(viewport.getZoom(true), null, true);
        pane.deep.viewport.panTo(viewport.getCenter(true), true);
      }
    }
    this.#showSize(viewport.viewportToImageZoom(viewport.getZoom(true)));
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
    event.preventDefault();
    this.zoom(KEYS[event.key]);
  }

  #wheel(event) {
    if (this.panes[0].deep) return; // OpenSeadragon handles the wheel
    if (!event.ctrlKey && document.activeElement !== this.slider) return; // the page scrolls
    event.preventDefault();
    if (event.deltaY < 0) this.zoom("in", this.#point(event));
  }

  #double(event) {
    if (event.target.closest(".zoom")) return;
    this.zoom("full", this.#point(event));
  }

  #point(event) {
    const box = this.element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  // Makes the stage as high as the picture needs at the available width, within the window's height.
  fit() {
    const [width, height] = this.size;
    const most = Math.max(240, window.innerHeight * 0.72);
    const high = Math.round(Math.min(most, (this.element.clientWidth * height) / width));
    this.element.style.setProperty("--stage-height", `${high}px`);
    if (!this.panes[0].deep) this.#showSize(high / height);
  }

  // Shows how many pixels of the screen one pixel of the picture takes, in per cent.
  #showSize(scale) {
    const ratio = scale * devicePixelRatio;
    this.percent.value = `${(100 * ratio).toFixed(ratio < 0.1 ? 1 : 0)} %`;
  }
}
