// The panel of commands: the list, the form of one of them, its reply, and the calls of this session.

import { commandAddress, EFFECTS } from "./app.js";
import { h, newId, printable, replace, set, write } from "./dom.js";
import { Form } from "./form.js";
import { calls, remember, withoutSecrets } from "./history.js";
import { reply } from "./reply.js";
import { curl, jsonrpcs } from "./shell.js";
import { suggestions } from "./sources.js";
import { stringify } from "./json.js";
import { clock, duration } from "./times.js";

const RECENT = 12;

const main = document.getElementById("main");

const familyOf = (method) => method.tags?.[0]?.name || "other";
const effectOf = (method) => method["x-effect"] ?? "unknown";
const badge = (effect) => h("span", { class: `badge ${effect}` }, effect);

/** The description of a command that the server does not describe. */
const undescribed = (name) => ({
  name,
  summary: "",
  params: [{ name: "params", schema: {}, "x-variadic": true }],
  "x-effect": "unknown",
  named: {},
});

export class Commands {
  constructor(app) {
    this.app = app;
    this.title = "Commands";
    this.target = "";
    this.found = null;
    this.entries = [];
    this.effect = "";
    this.shownFor = null;
    this.refill = null;
    this.makeList();
    this.detail = h("section", { class: "detail", "aria-label": "Command" });
    this.element = h("div", { class: "split" }, this.list, this.detail);
  }

  makeList() {
    const { nodes, groups } = this.app.session;
    this.on = h("select", { id: newId(), onchange: () => this.go(this.name, this.on.value) }, [
      h("option", { value: "" }, "this server"),
      nodes.length ? h("option", { value: "*" }, "all nodes") : null,
      groups.length ? h("optgroup", { label: "Groups" }, groups.map((name) => h("option", { value: name }, printable(name)))) : null,
      nodes.length ? h("optgroup", { label: "Nodes" }, nodes.map((name) => h("option", { value: name }, printable(name)))) : null,
    ]);
    this.search = h("input", { type: "search", id: newId(), autocomplete: "off", spellcheck: "false", placeholder: "htable set", oninput: () => this.filter(), onkeydown: (event) => this.fromSearch(event) });
    this.family = h("select", { id: newId(), onchange: () => this.filter() });
    this.effects = ["", ...EFFECTS].map((effect) =>
      h("button", { type: "button", "aria-pressed": effect === "" ? "true" : "false", onclick: () => this.only(effect) }, effect || "all"),
    );
    this.count = h("p", { class: "count", role: "status" });
    this.links = h("div", { class: "links", onkeydown: (event) => this.move(event) });
    this.list = h(
      "section",
      { class: "list", "aria-label": "List of commands" },
      h("div", { class: "filters" },
        h("div", { class: "field" }, h("label", { for: this.search.id }, "Filter"), this.search),
        h("div", { class: "pair" },
          h("div", { class: "field" }, h("label", { for: this.family.id }, "Family"), this.family),
          nodes.length ? h("div", { class: "field" }, h("label", { for: this.on.id }, "Call on"), this.on) : null),
        h("div", { class: "segments", role: "group", "aria-label": "What commands do" }, this.effects),
        this.count,
      ),
      this.links,
    );
  }

  go(name, target) {
    location.hash = commandAddress(name, target);
  }

  /** Show the panel, with a command or without. */
  async show(name, query) {
    const target = query.get("on") ?? "";
    this.name = name;
    set(this.element, "class", name ? "split chosen" : "split");
    if (this.found === null || this.found.error || this.target !== target) {
      this.target = target;
      this.on.value = target;
      replace(this.links, h("p", { class: "empty" }, "Reading the descriptions…"));
      try {
        this.found = await this.app.describe(target);
      } catch (error) {
        this.found = { methods: new Map(), url: "", error };
      }
      if (this.target !== target) return;
      this.fillList();
    }
    this.choose(name);
  }

  fillList() {
    const families = new Map();
    for (const method of this.found.methods.values()) {
      const family = familyOf(method);
      families.set(family, [...(families.get(family) ?? []), method]);
    }
    const sorted = [...families].sort(([a], [b]) => (a < b ? -1 : 1));
    this.entries = [];
    this.sections = sorted.map(([family, methods]) => {
      const items = methods.map((method) => this.entry(method, family));
      return { family, element: h("section", {}, h("h2", {}, printable(family)), h("ul", {}, items.map((one) => one.item))), items };
    });
    replace(this.family, h("option", { value: "" }, "all"), sorted.map(([family, methods]) => h("option", { value: family }, `${printable(family)} (${methods.length})`)));
    const error = this.found.error;
    const nothing = error ? this.otherMethod(error) : this.entries.length ? null : h("p", { class: "empty" }, "There are no commands that you may call.");
    replace(this.links, nothing, this.sections.map((one) => one.element));
    this.filter();
  }

  entry(method, family) {
    const link = h("a", { href: commandAddress(method.name, this.target), tabindex: "-1" },
      h("span", { class: "line" }, h("code", {}, printable(method.name)), badge(effectOf(method))),
      method.summary ? h("span", { class: "summary" }, printable(method.summary)) : null,
    );
    const one = { method, family, link, item: h("li", {}, link), text: `${method.name} ${method.summary ?? ""}`.toLowerCase() };
    this.entries.push(one);
    return one;
  }

  /** Without descriptions a command can still be named. */
  otherMethod(error) {
    const input = h("input", { id: newId(), autocomplete: "off", spellcheck: "false", autocapitalize: "off", placeholder: "core.uptime" });
    const go = (event) => {
      event.preventDefault();
      if (input.value.trim()) this.go(input.value.trim(), this.target);
    };
    return h("form", { class: "other", onsubmit: go },
      h("p", {}, printable(`The commands cannot be listed: ${error.message}`)),
      h("div", { class: "field" }, h("label", { for: input.id }, "Call a command by its name"), h("div", { class: "control" }, input, h("button", {}, "Open"))),
    );
  }

  only(effect) {
    this.effect = effect;
    this.effects.forEach((button, place) => set(button, "aria-pressed", ["", ...EFFECTS][place] === effect ? "true" : "false"));
    this.filter();
  }

  filter() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const family = this.family.value;
    let count = 0;
    for (const one of this.entries) {
      const fits = (!family || one.family === family) && (!this.effect || effectOf(one.method) === this.effect) && words.every((word) => one.text.includes(word));
      one.item.hidden = !fits;
      count += fits;
    }
    for (const section of this.sections) section.element.hidden = section.items.every((one) => one.item.hidden);
    write(this.count, this.entries.length ? `${count} of ${this.entries.length} commands` : "");
    this.mark();
  }

  visible() {
    return this.entriesInOrder().filter((one) => !one.item.hidden);
  }

  entriesInOrder() {
    return this.sections.flatMap((section) => section.items);
  }

  /** One link of the list is reached with Tab, the others with the arrow keys. */
  mark() {
    const visible = this.visible();
    const current = visible.find((one) => one.method.name === this.name);
    for (const one of this.entries) {
      set(one.link, "tabindex", one === (current ?? visible[0]) ? null : "-1");
      set(one.link, "aria-current", one === current ? "page" : null);
    }
  }

  fromSearch(event) {
    const [first] = this.visible();
    if (!first || !["ArrowDown", "Enter"].includes(event.key)) return;
    event.preventDefault();
    if (event.key === "ArrowDown") first.link.focus();
    else this.go(first.method.name, this.target);
  }

  move(event) {
    const links = this.visible().map((one) => one.link);
    const at = links.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    if (to < 0) this.search.focus();
    else links[Math.min(to, links.length - 1)].focus();
  }

  choose(name) {
    this.mark();
    const shown = name && `${name} ${this.target}`;
    if (shown && shown === this.shownFor && !this.refill) return;
    const before = this.shownFor;
    this.shownFor = shown;
    if (!name) {
      if (before) this.visible().find((one) => before === `${one.method.name} ${this.target}`)?.link.focus();
      replace(this.detail, h("h1", {}, "Commands"), h("p", { class: "lead" }, "Choose a command from the list. Each has a form for its parameters. Commands that change something ask before they are sent."), this.recent());
      return;
    }
    this.showCommand(this.found.methods.get(name) ?? undescribed(name));
  }

  showCommand(method) {
    const call = (other, params) => (this.found.methods.has(other) ? this.app.call(this.target, other, params) : null);
    this.form = new Form(method, method.named, (source, before) => suggestions(source, before, call).catch(() => []));
    this.answer = h("section", { class: "answer", "aria-label": "Reply", "aria-live": "polite" });
    const send = h("button", { class: "primary" }, "Call");
    const json = h("button", { type: "button", class: "quiet", onclick: () => {
      this.form.toggle();
      write(json, this.form.raw ? "Fields" : "As JSON");
    } }, "As JSON");
    if (this.refill) {
      this.form.fill(this.refill);
      write(json, this.form.raw ? "Fields" : "As JSON");
      this.refill = null;
    }
    const heading = h("h1", { tabindex: "-1" }, printable(method.name));
    const form = h("form", { novalidate: true, "aria-label": "Parameters", onsubmit: (event) => {
      event.preventDefault();
      this.send(method, send);
    } }, this.form.element, h("div", { class: "actions" }, send, h("span", { class: "space" }), json));
    replace(
      this.detail,
      h("a", { class: "back", href: commandAddress("", this.target) }, "All commands"),
      h("header", {}, heading, badge(effectOf(method)), method.deprecated ? h("span", { class: "badge" }, "deprecated") : null, method["x-asynchronous"] ? h("span", { class: "badge" }, "asynchronous") : null),
      this.found.methods.size && !this.found.methods.has(method.name) ? h("p", { class: "lead" }, "No description has this command; it may not exist, or you may not call it.") : null,
      method.summary ? h("p", { class: "lead" }, printable(method.summary)) : null,
      method.description ? method.description.split(/\n\s*\n/).map((text) => h("p", {}, printable(text.replace(/\s+/g, " ")))) : null,
      form,
      this.answer,
      this.faults(method),
      this.recent(),
    );
    this.detail.scrollTop = 0;
    this.entries.find((one) => one.method === method)?.link.scrollIntoView({ block: "nearest" });
    main.scrollTop = 0;
    heading.focus({ preventScroll: true });
  }

  faults(method) {
    if (!method.errors?.length) return null;
    return h("details", { class: "faults" }, h("summary", {}, "Faults that it may return"),
      h("ul", {}, method.errors.map((one) => h("li", {}, h("code", {}, printable(one.code)), " ", printable(one.message)))));
  }

  async send(method, button) {
    if (button.hasAttribute("aria-disabled")) return;
    const params = this.form.read();
    if (params === null || !(await this.app.allowed(this.target, method, params))) return;
    const { target, answer, found } = this;
    set(button, "aria-disabled", "true");
    replace(answer, h("p", { class: "waiting" }, "Waiting for the reply…"));
    try {
      const outcome = await this.app.call(target, method.name, params).catch(() => null);
      if (outcome === null) {
        replace(answer); // the reason has been shown already
        return;
      }
      remember({ time: Date.now(), target, method: method.name, params: withoutSecrets(method, params), code: outcome.fault ? (outcome.fault.code ?? 0) : null, ms: outcome.ms });
      const user = this.app.session.user;
      const url = found.url || this.app.ownUrl;
      replace(answer, reply(outcome, this.app.many(target) || method.name === "gateway.call", [
        { name: "as curl", text: () => curl(url, user, method.name, params) },
        { name: "as jsonrpcs", text: () => jsonrpcs(url, user, method.name, params) },
      ]));
      this.refreshRecent();
    } catch (error) {
      replace(answer, h("p", { class: "fault", role: "alert" }, `The reply cannot be shown: ${error.message}`));
    } finally {
      set(button, "aria-disabled", null);
    }
  }

  recent() {
    this.recently = h("section", { class: "recent", "aria-label": "Calls of this session" });
    this.refreshRecent();
    return this.recently;
  }

  refreshRecent() {
    const found = calls().slice(0, RECENT);
    replace(this.recently, found.length ? [h("h2", {}, "This session"), h("ul", {}, found.map((one) => this.recentCall(one)))] : null);
  }

  recentCall(one) {
    const again = () => {
      this.refill = one.params;
      const there = commandAddress(one.method, one.target);
      if (location.hash === there) this.choose(one.method);
      else location.hash = there;
    };
    const given = one.params.length === 0 ? "" : stringify(one.params);
    return h("li", {}, h("button", { type: "button", class: "row", onclick: again },
      h("span", { class: "time" }, clock(new Date(Number(one.time)))),
      h("code", {}, printable(`${one.method} ${given}`)),
      one.target ? h("span", { class: "badge" }, printable(one.target)) : null,
      h("span", { class: `badge ${one.code === null ? "good" : "bad"}` }, one.code === null ? duration(Number(one.ms)) : `fault ${printable(one.code)}`),
    ));
  }
}
