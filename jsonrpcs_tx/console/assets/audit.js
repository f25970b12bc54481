// The panel of the audit log: its last entries, the newest first.

import { ask } from "./dialog.js";
import { h, newId, printable, write } from "./dom.js";
import { stringify } from "./json.js";
import { oneLine, tree } from "./reply.js";
import { clock } from "./times.js";
import { VirtualTable } from "./virtual.js";

const GOOD = ["result", "begun"];

export class Audit {
  constructor(app) {
    this.app = app;
    this.title = "Audit";
    this.rows = [];
    this.search = h("input", { type: "search", id: newId(), autocomplete: "off", spellcheck: "false", placeholder: "a user, a method, an address", oninput: () => this.draw() });
    this.bad = h("input", { type: "checkbox", id: newId(), onchange: () => this.draw() });
    this.count = h("p", { class: "count", role: "status" });
    this.table = new VirtualTable("Audit log", "audit", ["Time", "Call", "Outcome", "Caller", "Details"], (index) => this.row(this.rows[index]), (index) => this.rows[index]);
    this.element = h("section", { class: "panel", "aria-labelledby": "audit" },
      h("header", {}, h("h1", { id: "audit" }, "Audit log"), this.count,
        app.session.nodes.length ? h("p", { class: "count" }, "Only calls that came to this server, for itself or for nodes") : null),
      h("div", { class: "filters" },
        h("div", { class: "field" }, h("label", { for: this.search.id }, "Filter"), this.search),
        h("div", { class: "field check" }, this.bad, h("label", { for: this.bad.id }, "Only refused and failed calls"))),
      this.table.element);
    app.live.listen("audit", () => this.draw());
  }

  show() {
    this.draw();
  }

  draw() {
    if (!this.element.isConnected) return;
    const text = this.search.value.toLowerCase();
    const all = this.app.live.state.audit ?? [];
    this.rows = all
      .filter((one) => (!this.bad.checked || !GOOD.includes(one.outcome)) && (!text || stringify(one).toLowerCase().includes(text)))
      .reverse();
    write(this.count, all.length ? `${this.rows.length} of the last ${all.length} entries` : "There are no entries yet");
    this.table.resize(this.rows.length);
  }

  row(one) {
    const who = [one.user, one.claimed_user && `claims to be ${one.claimed_user}`, one.address, one.uid !== undefined && `uid ${one.uid}`].filter(Boolean);
    const call = `${one.method ?? one.note ?? "invalid request"} ${one.params === undefined ? "" : oneLine(one.params)}`;
    return [
      h("div", { role: "cell", class: "when" }, h("time", { datetime: printable(one.time) }, clock(new Date(one.time)))),
      h("div", { role: "cell", class: "main" }, h("code", { title: printable(call) }, printable(call))),
      h("div", { role: "cell" }, one.outcome ? h("span", { class: `badge ${GOOD.includes(one.outcome) ? "good" : "bad"}` }, printable(GOOD.includes(one.outcome) ? one.outcome : `${one.outcome} ${one.code ?? ""}`)) : null),
      h("div", { role: "cell", class: "who" }, printable([one.transport, ...who, one.node && `for ${one.node}`].filter(Boolean).join(" · "))),
      h("div", { role: "cell", class: "do" }, h("button", { type: "button", class: "small", "aria-label": printable(`Details of ${one.method ?? "the entry"} at ${one.time}`), onclick: () => ask("Entry of the audit log", [h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Entry" }, tree(one))], { action: "Close", reading: true }) }, "Details")),
    ];
  }
}
