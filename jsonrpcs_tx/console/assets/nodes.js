// The panel of nodes: which of them are up, with links to call one, a group, or all.

import { commandAddress } from "./app.js";
import { arrange, h, printable, replace, write } from "./dom.js";
import { stringify } from "./json.js";
import { moment, span } from "./times.js";

export class Nodes {
  constructor(app) {
    this.app = app;
    this.title = "Nodes";
    this.shown = new Map();
    this.count = h("p", { class: "count", role: "status" });
    this.cards = h("ul", { class: "nodes" });
    const call = (target, name) => h("li", {}, h("a", { href: commandAddress("", target) }, printable(name)));
    this.element = h("section", { class: "panel", "aria-labelledby": "nodes" },
      h("header", {}, h("h1", { id: "nodes" }, "Nodes"), this.count),
      h("nav", { class: "chips", "aria-label": "Call many nodes" }, h("ul", {}, call("*", "Call all nodes"), app.session.groups.map((name) => call(name, `Call ${name}`)))),
      this.cards);
    app.live.listen("nodes", () => this.draw());
  }

  show() {
    this.draw();
  }

  draw() {
    if (!this.element.isConnected) return;
    const nodes = this.app.live.state.nodes ?? [];
    const up = nodes.filter((node) => node.state === "up").length;
    write(this.count, nodes.length ? `${up} of ${nodes.length} up` : "There are no nodes");
    arrange(this.cards, nodes.map((node) => {
      if (!this.shown.has(node.name)) this.shown.set(node.name, new Card(node.name));
      return this.shown.get(node.name).draw(node);
    }));
  }
}

/** The card of a node. Its element and its link are kept, so that the link keeps the focus. */
class Card {
  constructor(name) {
    this.told = h("div");
    this.element = h("li", { class: "card" }, this.told,
      h("a", { class: "button", href: commandAddress("", name) }, "Call", h("span", { class: "unseen" }, ` ${printable(name)}`)));
  }

  /** Show what is known of the node. @returns the element. */
  draw(node) {
    const state = stringify(node);
    if (this.state === state) return this.element;
    this.state = state;
    const fact = (name, value) => (value === null || value === undefined || value === "" ? null : [h("dt", {}, name), h("dd", {}, printable(value))]);
    replace(this.told,
      h("header", {}, h("h2", {}, printable(node.name)), h("span", { class: `state ${node.state === "up" ? "active" : node.state === "down" ? "inactive" : ""}` }, printable(node.state))),
      node.reason ? h("p", { class: "wrong" }, printable(node.reason)) : null,
      h("dl", {},
        fact("Version", node.version),
        fact("Uptime", span(node.uptime)),
        fact("Since", local(node.since)),
        fact("Groups", (node.groups ?? []).join(", ")),
        fact("Target", node.target),
        fact("Restarts", node.restarts || ""),
        fact("In progress", node.under_way || "")));
    return this.element;
  }
}

/** A time that the server writes, in the reader's time zone. */
const local = (text) => (Number.isNaN(Date.parse(text)) ? text : moment(new Date(text)));
