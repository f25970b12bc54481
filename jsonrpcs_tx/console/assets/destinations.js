// The panel of destinations: by set, each with its state, which a click changes.

import { confirmed, say } from "./dialog.js";
import { h, newId, printable, write } from "./dom.js";
import { VirtualTable } from "./virtual.js";

const STATES = { A: "active", I: "inactive", D: "disabled", T: "trying" };
const SETTABLE = ["active", "inactive", "disabled"];

/** A state as Kamailio writes it, in words: `IP` is inactive, and probed. */
const words = (flags) => `${STATES[flags[0]] ?? flags}${flags[1] === "P" ? ", probed" : ""}`;

export class Destinations {
  constructor(app) {
    this.app = app;
    this.title = "Destinations";
    this.rows = [];
    this.search = h("input", { type: "search", id: newId(), autocomplete: "off", spellcheck: "false", placeholder: "sip:10.0", oninput: () => this.filter() });
    this.state = h("select", { id: newId(), onchange: () => this.filter() }, h("option", { value: "" }, "any"), Object.entries(STATES).map(([flag, name]) => h("option", { value: flag }, name)));
    this.count = h("p", { class: "count", role: "status" });
    this.table = new VirtualTable("Destinations", "destinations", ["Destination", "State", "Priority", "Latency", "Set to"], (index) => this.row(this.rows[index]), (index) => this.rows[index].key);
    this.element = h("section", { class: "panel", "aria-labelledby": "destinations" },
      h("header", {}, h("h1", { id: "destinations" }, "Destinations"), this.count, app.onlyHere("dispatcher.list")),
      h("div", { class: "filters" },
        h("div", { class: "field" }, h("label", { for: this.search.id }, "Filter"), this.search),
        h("div", { class: "field" }, h("label", { for: this.state.id }, "State"), this.state)),
      this.table.element);
    app.live.listen("destinations", () => this.filter());
  }

  show() {
    this.filter();
  }

  filter() {
    if (!this.element.isConnected) return;
    const sets = this.app.live.state.destinations ?? {};
    const text = this.search.value.toLowerCase();
    const rows = [];
    let count = 0;
    let all = 0;
    const tally = {};
    for (const [set, { destinations }] of Object.entries(sets).sort(([a], [b]) => Number(a) - Number(b))) {
      const fitting = [];
      for (const one of destinations) {
        tally[one.flags[0]] = (tally[one.flags[0]] ?? 0) + 1;
        const fits = (!text || `${one.uri} ${one.attrs ?? ""}`.toLowerCase().includes(text)) && (!this.state.value || one.flags[0] === this.state.value);
        if (fits) fitting.push({ set, one, key: `${set} ${one.uri} ${one.flags} ${one.priority} ${latency(one.latency)} ${one.attrs ?? ""}` });
      }
      all += destinations.length;
      count += fitting.length;
      if (fitting.length) rows.push({ set, key: `set ${set} ${fitting.length} ${destinations.length}`, count: destinations.length, up: destinations.filter((one) => one.flags[0] === "A").length }, ...fitting);
    }
    this.rows = rows;
    const states = Object.entries(STATES).filter(([flag]) => tally[flag]).map(([flag, name]) => `${tally[flag]} ${name}`);
    write(this.count, count === all ? states.join(", ") || "There are no destinations" : `${count} of ${all} destinations`);
    this.table.resize(rows.length);
  }

  row({ set, one, count, up }) {
    if (!one)
      return [h("div", { role: "cell", class: "set", "aria-colspan": 5 }, h("h2", {}, `Set ${printable(set)}`), h("small", {}, `${up} of ${count} active`))];
    const current = STATES[one.flags[0]];
    const may = this.app.may("dispatcher.set_state");
    return [
      h("div", { role: "cell", class: "main" }, h("code", { title: printable(one.uri) }, printable(one.uri)), one.attrs ? h("small", { title: printable(one.attrs) }, printable(one.attrs)) : null),
      h("div", { role: "cell" }, h("span", { class: `state ${current ?? ""}` }, printable(words(one.flags)))),
      h("div", { role: "cell", class: "number" }, h("small", { class: "label" }, "Priority "), String(one.priority)),
      h("div", { role: "cell", class: "number" }, latency(one.latency)),
      h("div", { role: "cell", class: "do" }, may ? h("div", { class: "segments", role: "group", "aria-label": printable(`State of ${one.uri}`) },
        SETTABLE.map((state) => h("button", { type: "button", "aria-pressed": state === current ? "true" : "false", onclick: () => this.set(set, one, state) }, state))) : null),
    ];
  }

  async set(set, one, state) {
    if (STATES[one.flags[0]] === state) return;
    const content = [h("p", {}, "The destination ", h("code", {}, printable(one.uri)), ` of set ${printable(set)} is ${printable(words(one.flags))} now.`)];
    if (state !== "active") content.push(h("p", {}, `It gets no more calls while it is ${state}.`));
    if (!(await confirmed(`Set it ${state}?`, content, `Set ${state}`))) return;
    const flags = state[0] + (one.flags[1] === "P" ? "p" : "");
    const wrong = await this.app.change("dispatcher.set_state", [flags, Number(set), one.uri], `${one.uri} is ${state} now`);
    if (wrong) say(wrong, true);
  }
}

/** How long it takes to answer probes. */
const latency = (ms) => (ms === null ? "–" : `${ms < 10 ? Number(ms).toFixed(1) : Math.round(ms)} ms`);
