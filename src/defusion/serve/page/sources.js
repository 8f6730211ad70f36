// The sources of a scene. They are sent as soon as they are dropped, and sorted by kind and brightness.

import { Refusal, forget, send } from "./api.js";
import { $, make } from "./dom.js";

const AT_ONCE = 2;
const DEPTHS = { uint8: "8 bits", uint16: "16 bits", float32: "float" };

export class Sources {
  // `changed` is called after each change; `picked` is called with a source that the user clicks.
  constructor(changed, picked) {
    this.list = [];
    this.limits = null;
    this.changed = changed;
    this.picked = picked;
    this.sending = 0;
  }

  get ready() {
    return this.list.filter((source) => source.facts);
  }

  get busy() {
    return this.list.some((source) => !source.facts && !source.problem);
  }

  get ids() {
    return this.ready.map((source) => source.facts.id);
  }

  // Takes files of the user and sends each when its turn comes.
  take(files) {
    for (const file of files) {
      const source = this.#added(file.name, file);
      if (file.size > this.limits.upload_bytes) {
        this.#refused(source, new Refusal(`Too large: ${megabytes(file.size)}, ${megabytes(this.limits.upload_bytes)} at most.`));
      }
    }
    this.#sendNext();
    this.changed();
  }

  // Takes pictures that the service already has.
  have(pictures) {
    for (const facts of pictures) this.#arrived(this.#added(facts.name, null), facts);
    this.changed();
  }

  // Sends all files again, after the service has deleted them.
  again() {
    for (const source of this.list) {
      source.facts = source.problem = null;
      if (!source.file) this.remove(source);
      else this.#draw(source);
    }
    this.#sendNext();
    this.changed();
  }

  clear() {
    for (const source of [...this.list]) this.remove(source);
  }

  remove(source) {
    source.ending.abort();
    if (source.facts) forget(source.facts.links.self);
    source.item.remove();
    this.list = this.list.filter((each) => each !== source);
    this.changed();
  }

  // Marks the source that the result is compared with.
  mark(source) {
    for (const each of this.list) {
      const button = each.item.querySelector(".pick");
      button.disabled = !source || !each.facts;
      if (source) button.setAttribute("aria-pressed", String(each === source));
      else button.removeAttribute("aria-pressed");
    }
  }

  #added(name, file) {
    const source = { name, file, facts: null, problem: null, part: 0, ending: new AbortController() };
    source.item = make("li", { class: "source" });
    this.list.push(source);
    $("sources").append(source.item);
    this.#draw(source);
    return source;
  }

  #sendNext() {
    while (this.sending < AT_ONCE) {
      const next = this.list.find((each) => each.file && !each.facts && !each.problem && !each.sending);
      if (!next) return;
      this.sending += 1;
      next.sending = true;
      send(next.file, (part) => this.#sent(next, part), next.ending.signal)
        .then(
          (facts) => this.#arrived(next, facts),
          (error) => this.#refused(next, error),
        )
        .finally(() => {
          next.sending = false;
          this.sending -= 1;
          this.#sendNext();
          this.changed();
        });
    }
  }

  #sent(source, part) {
    const bar = source.item.querySelector("progress");
    if (!bar) return;
    if (part < 1) bar.value = part;
    else bar.removeAttribute("value"); // all is sent; the service is reading it
  }

  #arrived(source, facts) {
    if (!this.list.includes(source)) {
      forget(facts.links.self);
      return;
    }
    source.facts = facts;
    this.#draw(source);
    this.#sort();
  }

  #refused(source, error) {
    if (error.status === 429) {
      setTimeout(() => this.#sendNext(), 3000);
      return;
    }
    source.problem = error;
    this.#draw(source);
  }

  #draw(source) {
    const { facts, problem, name } = source;
    source.item.classList.toggle("bad", Boolean(problem));
    const frame = make("span", { class: "frame" });
    if (facts) frame.append(make("img", { src: facts.links.thumbnail, alt: "" }));
    else if (problem) frame.append("Refused");
    else frame.append(make("progress", { "aria-label": `Sending ${name}`, value: 0 }));
    const told = facts ? factsLine(facts) : problem ? problem.message : "Sending";
    const again = problem && problem.status === 0 && source.file;
    source.item.replaceChildren(
      make(
        "button",
        { class: "pick", disabled: true, title: name, onclick: () => this.picked(source) },
        frame,
        make("span", { class: "name" }, name),
        make("span", { class: "facts" }, told),
      ),
      make("button", { class: "remove", "aria-label": `Remove ${name}`, onclick: () => this.remove(source) }, "×"),
    );
    if (again) source.item.append(make("button", { class: "plain", onclick: () => this.#retry(source) }, "Send again"));
  }

  #retry(source) {
    source.problem = null;
    this.#draw(source);
    this.#sendNext();
    this.changed();
  }

  // Sorts infrared pictures first, then from dark to bright. Pictures of equal brightness are sorted by name.
  #sort() {
    const facts = this.ready.map((source) => source.facts);
    const lights = facts.map((each) => each.light);
    const exposures = facts.map((each) => each.exposure);
    const byCamera = exposures.every((each) => each !== null) && spread(exposures) > 0.3;
    const byLight = Math.max(...lights) > 1.2 * Math.min(...lights);
    const rank = (each) => {
      const mixed = facts.some((one) => one.grey) && facts.some((one) => !one.grey);
      return [mixed && !each.facts.grey ? 1 : 0, byCamera ? each.facts.exposure : byLight ? each.facts.light : 0];
    };
    this.list.sort((a, b) => {
      if (!a.facts || !b.facts) return Boolean(b.facts) - Boolean(a.facts);
      const [x, y] = [rank(a), rank(b)];
      return x[0] - y[0] || x[1] - y[1] || a.name.localeCompare(b.name, undefined, { numeric: true });
    });
    $("sources").append(...this.list.map((source) => source.item));
  }
}

function spread(values) {
  return Math.max(...values) - Math.min(...values);
}

function factsLine(facts) {
  return `${facts.width}×${facts.height}, ${DEPTHS[facts.depth]}`;
}

function megabytes(bytes) {
  return `${Math.round(bytes / 2 ** 20)} MB`;
}
