// The panel of variables: what each is for, its value and its default; a button changes it.

import { ask } from "./dialog.js";
import { arrange, h, newId, printable, write } from "./dom.js";
import { stringify } from "./json.js";
import { read } from "./schema.js";

const KINDS = { integer: "integer", double: "number", string: "string" };
const WIDEST = ["-9223372036854775808", "9223372036854775807"];

export class Variables {
  constructor(app) {
    this.app = app;
    this.title = "Variables";
    this.shown = new Map();
    this.search = h("input", { type: "search", id: newId(), autocomplete: "off", spellcheck: "false", oninput: () => this.draw() });
    this.count = h("p", { class: "count", role: "status" });
    this.groups = h("div", { class: "groups" });
    this.element = h("section", { class: "panel", "aria-labelledby": "variables" },
      h("header", {}, h("h1", { id: "variables" }, "Variables"), this.count, app.onlyHere("cfg.get")),
      h("div", { class: "filters" }, h("div", { class: "field" }, h("label", { for: this.search.id }, "Filter"), this.search)),
      this.groups);
    app.live.listen("variables", () => this.draw());
  }

  show() {
    this.draw();
  }

  draw() {
    if (!this.element.isConnected) return;
    const all = this.app.live.state.variables ?? [];
    const text = this.search.value.toLowerCase();
    const fitting = all.filter((one) => `${one.group} ${one.name} ${one.description}`.toLowerCase().includes(text));
    const groups = new Map();
    for (const one of fitting) groups.set(one.group, [...(groups.get(one.group) ?? []), one]);
    const used = new Set();
    const sections = [...groups].map(([group, variables]) => {
      const list = this.kept(used, `group ${group}`, "", () => h("section", { class: "card" }, h("h2", {}, printable(group)), h("ul", { class: "variables" })));
      const rows = variables.map((one) => this.kept(used, `${group}.${one.name}`, stringify(one), () => this.row(one)));
      arrange(list.lastChild, rows);
      return list;
    });
    arrange(this.groups, sections);
    for (const key of this.shown.keys()) if (!used.has(key)) this.shown.delete(key);
    write(this.count, all.length === fitting.length ? `${all.length} variables` : `${fitting.length} of ${all.length} variables`);
  }

  /** An element that is made again only if what it shows has changed. */
  kept(used, key, state, make) {
    used.add(key);
    const known = this.shown.get(key);
    if (known?.state === state) return known.element;
    const element = make();
    this.shown.set(key, { state, element });
    return element;
  }

  row(one) {
    const kind = KINDS[one.type] ?? "string";
    const changed = one.value !== one.default;
    const facts = [one.type, range(one), `default ${one.default || "empty"}`].filter(Boolean).join(", ");
    return h("li", {},
      h("div", { class: "main" }, h("code", {}, printable(one.name)), one.description ? h("p", {}, printable(one.description)) : null, h("small", {}, printable(facts))),
      h("div", { class: "now" }, h("span", { class: `value ${kind === "string" ? "string" : "number"}` }, printable(one.value) || h("em", {}, "empty")), changed ? h("span", { class: "badge changes" }, "changed") : null),
      setter(this.app, one) ? h("button", { type: "button", class: "small", "aria-label": printable(`Change ${one.name}`), onclick: () => this.edit(one) }, "Change") : null);
  }

  async edit(one) {
    const id = newId();
    const kind = KINDS[one.type] ?? "string";
    const input = one.allowed
      ? h("select", { id }, one.allowed.map((value) => h("option", { value }, printable(value) || "empty")))
      : h("input", { id, autocomplete: "off", spellcheck: "false", inputmode: kind === "string" ? null : "text", "aria-describedby": `${id}h` });
    input.value = one.value;
    const reset = h("button", { type: "button", class: "small", onclick: () => {
      input.value = one.default;
      input.focus();
    } }, "Default");
    const check = () => {
      const value = read(input.value, { kind, schema: kind === "string" ? {} : { minimum: one.least, maximum: one.most } });
      return this.app.change(setter(this.app, one), [one.group, one.name, value], `${one.name} is ${value === "" ? "empty" : value} now`);
    };
    await ask(`Change ${one.group}.${one.name}?`, [
      one.description ? h("p", {}, printable(one.description)) : null,
      h("div", { class: "field" },
        h("div", { class: "about" }, h("label", { for: id }, "New value"), h("span", { class: "hint", id: `${id}h` }, printable([`now ${one.value || "empty"}`, one.type, range(one)].filter(Boolean).join(", ")))),
        h("div", { class: "control" }, input, reset)),
    ].filter(Boolean), { action: "Set", check });
  }
}

/** The command that sets a variable, of those that the caller may call. */
function setter(app, { type }) {
  const names = ["cfg.set", ...(KINDS[type] === "string" ? ["cfg.sets", "cfg.set_now_string"] : KINDS[type] === "integer" ? ["cfg.seti", "cfg.set_now_int"] : [])];
  return names.find((name) => app.may(name));
}

/** The values that it may have; nothing where a number may be anything. */
function range({ least, most, allowed }) {
  if (allowed) return `one of ${allowed.map((value) => value || "empty").join(", ")}`;
  const [low, high] = [least, most].map((limit) => (limit === null || WIDEST.includes(limit) || Math.abs(Number(limit)) > 9e18 ? null : limit));
  if (low !== null && high !== null) return `${low} to ${high}`;
  return low !== null ? `at least ${low}` : high !== null ? `at most ${high}` : "";
}
