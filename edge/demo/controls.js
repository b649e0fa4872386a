/** @import { Model } from "./api.js" */
import { FORMS } from "./answer-form.js";
import { fillSelect, find } from "./dom.js";
import { Fields, labelOf } from "./fields.js";
import { fieldName, RescorerFields, showFigures } from "./rescorer-fields.js";

/** What does not depend on the model. */
const DEFAULTS = { system: "", max: "192", t: "0", seed: "0", form: "free", shape: "", at: "auto", streams: "1" };

/** A caller without a key may run eight completions at once. */
const STREAMS = ["1", "2", "4", "8"];

/** Fields by what the API calls them, for its complaints. */
const PARAMS = {
  max_tokens: "max",
  temperature: "t",
  seed: "seed",
  messages: "prompt",
  tools: "shape",
  response_format: "shape",
  guided: "shape",
  "speculation.heads": "heads",
  "speculation.top_k": "k",
  "speculation.max_nodes": "nodes",
  "speculation.placement": "at",
  "speculation.rescorer.type": "type",
};

/** The form: what the reader asks for, as a request body and as the address's hash. */
export class Controls {
  /** @type {Model[]} */
  #models = [];
  #fields;
  #settings = find("#settings", HTMLElement);
  #rescorer = new RescorerFields(this.#settings);

  /** @param {HTMLFormElement} form */
  constructor(form) {
    this.#fields = new Fields(form);
    fillSelect(
      this.#fields.element("form"),
      Object.entries(FORMS).map(([name, { title }]) => /** @type {const} */ ([name, title])),
    );
    fillSelect(
      this.#fields.element("streams"),
      STREAMS.map((n) => /** @type {const} */ ([n, n === "1" ? "one stream" : `${n} streams`])),
    );
    const asked = new URLSearchParams(location.hash.slice(1));
    this.#fields.set("prompt", asked.get("prompt") ?? this.prompt);
    document.addEventListener("input", (event) => this.#changed(event.target));
  }

  /** @param {Model[]} models */
  setModels(models) {
    this.#models = models;
    const asked = new URLSearchParams(location.hash.slice(1));
    fillSelect(
      this.#fields.element("model"),
      models.map((m) => [m.id, m.id]),
    );
    this.reset(asked.get("model") ?? undefined);
    // These decide which others there are.
    for (const name of ["type", "form"]) {
      const value = asked.get(name);
      if (value === null) continue;
      this.#fields.set(name, value);
      this.#chose(name);
    }
    for (const [name, value] of asked) {
      if (name !== "model" && name !== "type" && this.#fields.has(name)) this.#fields.set(name, value);
    }
    find("#system-part", HTMLDetailsElement).open = this.#fields.value("system") !== "";
    this.#adapt();
  }

  get model() {
    return this.#models.find((m) => m.id === this.#fields.value("model")) ?? this.#models[0] ?? null;
  }

  get prompt() {
    return this.#fields.value("prompt");
  }

  get form() {
    return this.#fields.value("form");
  }

  get streams() {
    return Number(this.#fields.value("streams"));
  }

  /** @param {{ prompt: string, form?: string }} example */
  start({ prompt, form = "free" }) {
    this.#fields.set("prompt", prompt);
    this.#fields.set("form", form);
    this.#chose("form");
    this.#adapt();
    this.#writeHash();
  }

  /** Everything but the prompts back to the bundle's defaults. */
  reset(model = this.#fields.value("model")) {
    if (this.#models.some((m) => m.id === model)) this.#fields.set("model", model);
    this.#fillForModel();
    for (const [name, value] of Object.entries(this.#defaults())) {
      if (name !== "system") this.#fields.set(name, value);
    }
    for (const name of ["type", "form"]) this.#chose(name);
    this.#adapt();
    this.#fields.clearFaults();
  }

  /**
   * The request body as an answer to a conversation. Where a seed is wanted and none is given, a new one is in it, so
   * that a run can be repeated. Marks the field at fault and throws where there is one.
   *
   * @param {object[]} conversation messages so far, the last one by the user
   */
  body(conversation) {
    this.#fields.clearFaults();
    const invalid = this.#fields.invalid();
    if (invalid !== null) {
      this.#fields.fault(invalid.field, invalid.message);
      throw new Error(`${labelOf(invalid.field)}: ${invalid.message}`);
    }
    const temperature = this.#fields.number("t") ?? Number(DEFAULTS.t);
    const system = this.#fields.value("system").trim();
    const speculation = this.#speculation();
    return {
      model: this.#fields.value("model"),
      messages: [...(system === "" ? [] : [{ role: "system", content: system }]), ...conversation],
      max_tokens: this.#fields.number("max") ?? Number(DEFAULTS.max),
      temperature,
      ...given("seed", this.#fields.number("seed") ?? (temperature > 0 ? Math.floor(Math.random() * 2 ** 31) : null)),
      ...this.#shape(),
      ...(Object.keys(speculation).length > 0 ? { speculation } : {}),
    };
  }

  /**
   * Shows a complaint of the API at its field, if that is on the page.
   *
   * @param {string | null} param
   * @param {string} message
   */
  complain(param, message) {
    const setting = param?.replace(/^speculation\.rescorer\./, "") ?? "";
    const names = [/** @type {Record<string, string>} */ (PARAMS)[param ?? ""], fieldName(setting)];
    const top = param?.split(/[.[]/)[0] ?? "";
    const name = [...names, /** @type {Record<string, string>} */ (PARAMS)[top]].find(
      (n) => n !== undefined && this.#fields.has(n),
    );
    if (name !== undefined) this.#fields.fault(this.#fields.element(name), message);
  }

  /**
   * Address of this page with the same settings.
   *
   * @param {number} [seed] in place of an empty one
   */
  link(seed) {
    this.#writeHash();
    if (seed === undefined) return location.href;
    const url = new URL(location.href);
    const hash = new URLSearchParams(url.hash.slice(1));
    if (String(seed) !== DEFAULTS.seed) hash.set("seed", String(seed));
    url.hash = String(hash);
    return url.href;
  }

  #shape() {
    try {
      return FORMS[this.form]?.fields(this.#fields.value("shape")) ?? {};
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#fields.fault(this.#fields.element("shape"), message);
      throw new Error(`${find("#shape-label", HTMLElement).textContent}: ${message}`);
    }
  }

  /** Only what is not as the bundle has it: a request says no more than it must. */
  #speculation() {
    const { top_k, rescorer } = this.model?.speculation.defaults ?? {};
    const type = this.#fields.value("type");
    const chosen = this.#rescorer.chosen((name) => this.#fields.value(name));
    const isUsual = type === rescorer?.type && Object.keys(chosen).length === 0;
    const k = this.#fields.number("k");
    const at = this.#fields.value("at");
    return {
      ...given("heads", this.#fields.number("heads")),
      ...given("top_k", k === top_k ? null : k),
      ...given("max_nodes", this.#fields.number("nodes")),
      ...(isUsual ? {} : { rescorer: { type, ...chosen } }),
      ...(at === DEFAULTS.at ? {} : { placement: at }),
    };
  }

  /** @returns {Record<string, string>} */
  #defaults() {
    const bundle = this.model?.speculation;
    if (bundle === undefined) return DEFAULTS;
    const { type } = bundle.defaults.rescorer;
    return {
      ...DEFAULTS,
      heads: "",
      nodes: "",
      k: String(bundle.defaults.top_k),
      type: type in bundle.rescorer_settings ? type : "none",
    };
  }

  #fillForModel() {
    const { heads = 0, top_k = 1, rescorer_settings = {} } = this.model?.speculation ?? {};
    fillSelect(
      this.#fields.element("type"),
      Object.entries(rescorer_settings).map(([type, { title }]) => [type, title]),
    );
    const counts = Array.from({ length: heads }, (_, i) => String(i + 1));
    fillSelect(this.#fields.element("heads"), [["", "auto"], ...counts.map((n) => /** @type {const} */ ([n, n]))]);
    this.#fields.element("k").setAttribute("max", String(top_k));
  }

  /** What a choice brings with it. @param {string} name */
  #chose(name) {
    const value = this.#fields.value(name);
    if (name === "form") this.#fields.set("shape", FORMS[value]?.example ?? "");
    if (name !== "type") return;
    const rescorer = this.model?.speculation.rescorer_settings[value];
    if (rescorer === undefined) return;
    this.#rescorer.show(rescorer);
    for (const [field, text] of Object.entries(this.#rescorer.defaults)) this.#fields.set(field, text);
    find("#type-summary", HTMLElement).textContent = `Drafts ${rescorer.summary}.`;
  }

  /** @param {EventTarget | null} target */
  #changed(target) {
    if (
      !(
        target instanceof HTMLInputElement ||
        target instanceof HTMLSelectElement ||
        target instanceof HTMLTextAreaElement
      )
    )
      return;
    if (target.form?.id !== "request" || this.model === null) return;
    if (target.getAttribute("aria-invalid") !== null) this.#fields.clearFaults();
    if (target.name === "model") this.reset();
    if (target.name === "type" || target.name === "form") this.#chose(target.name);
    this.#adapt();
    this.#writeHash();
  }

  /** What depends on another field. */
  #adapt() {
    const { label = null } = FORMS[this.form] ?? {};
    find("#shape-field", HTMLElement).hidden = label === null;
    find("#shape-label", HTMLElement).textContent = label ?? "";
    const pack = fieldName("model");
    const name = this.#fields.has(pack) ? this.#fields.value(pack) : "";
    this.#rescorer.limitOrder(this.model?.speculation.packs.find((p) => p.name === name));
    showFigures(this.#settings);
  }

  /** Only what differs from the defaults, so that addresses stay short. */
  #writeHash() {
    const example = FORMS[this.form]?.example ?? "";
    const defaults = { ...this.#defaults(), ...this.#rescorer.defaults, shape: example };
    const hash = new URLSearchParams();
    if (this.prompt !== "") hash.set("prompt", this.prompt);
    if (this.model !== this.#models[0]) hash.set("model", this.#fields.value("model"));
    for (const [name, value] of Object.entries(defaults)) {
      if (this.#fields.value(name) !== value) hash.set(name, this.#fields.value(name));
    }
    history.replaceState(null, "", `${location.pathname}${hash.size > 0 ? `#${hash}` : ""}`);
  }
}

/**
 * @param {string} name
 * @param {string | number | null} value
 */
function given(name, value) {
  return value === null ? {} : { [name]: value };
}
