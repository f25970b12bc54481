// The panel of hash tables: browse, search, add, edit and delete items.

import { items, SignedOut } from "./api.js";
import { ask, confirmed, say } from "./dialog.js";
import { arrange, h, newId, printable, set, write } from "./dom.js";
import { read } from "./schema.js";
import { moment } from "./times.js";
import { VirtualTable } from "./virtual.js";

/** Items that are read first, at most with one request, and from the end at which further ones are read. */
const PAGE = 200;
const MOST = 1000;
const NEAR = 400;

/** Milliseconds from the last key to the search, and between two readings of a table that changes. */
const SOON = 200;
const AGAIN = 2000;

export class Tables {
  constructor(app) {
    this.app = app;
    this.title = "Tables";
    this.name = "";
    this.rows = [];
    this.next = null;
    this.turn = 0;
    this.tables = h("ul", {});
    this.search = h("input", { type: "search", id: newId(), autocomplete: "off", spellcheck: "false", placeholder: "a part of the key or the value", oninput: () => this.later() });
    this.heading = h("h1", { id: "tables" }, "Tables");
    this.count = h("p", { class: "count", role: "status" });
    this.add = h("button", { type: "button", class: "primary", onclick: () => this.edit(null) }, "Add an item");
    this.table = new VirtualTable("Items", "items", ["Key", "Value", "Expires", "Change"], (index) => this.row(index), (index) => this.key(index));
    this.table.onshow = (from, until) => this.more(until);
    this.body = h("div", { class: "body" },
      h("div", { class: "filters" }, h("div", { class: "field" }, h("label", { for: this.search.id }, "Search"), this.search), this.add),
      this.table.element);
    this.element = h("section", { class: "panel", "aria-labelledby": "tables" },
      h("header", {}, this.heading, this.count, app.onlyHere("htable.dump")),
      h("nav", { class: "chips", "aria-label": "Tables" }, this.tables),
      this.body);
    app.live.listen("tables", () => this.list());
  }

  show(name) {
    const first = (this.app.live.state.tables ?? [])[0]?.name;
    const chosen = name || first || "";
    if (chosen !== this.name) {
      this.search.value = "";
      this.rows = [];
      this.table.resize(0);
      this.generation = null;
    }
    this.name = chosen;
    write(this.heading, chosen ? `Table ${printable(chosen)}` : "Tables");
    this.reload();
    this.list();
  }

  list() {
    if (!this.element.isConnected) return;
    const tables = this.app.live.state.tables ?? [];
    if (!this.name && tables.length) return this.show(tables[0].name);
    const known = new Map([...this.tables.querySelectorAll("a")].map((link) => [link.dataset.name, link]));
    arrange(this.tables, tables.map(({ name, items: count }) => {
      const link = known.get(name) ?? h("a", { href: `#/tables/${encodeURIComponent(name)}`, "data-name": name }, h("code", {}, printable(name)), h("span", {}));
      write(link.lastChild, count.toLocaleString("en"));
      set(link, "aria-current", name === this.name ? "page" : null);
      return link.parentNode ?? h("li", {}, link);
    }));
    const now = this.known();
    this.body.hidden = now === undefined;
    if (now === undefined) write(this.count, tables.length ? "There is no such table" : "There are no tables");
    else if (now.generation !== this.generation) this.refresh();
  }

  /** What the server says of the table; undefined: no table of that name is known. */
  known() {
    return (this.app.live.state.tables ?? []).find((one) => one.name === this.name);
  }

  later() {
    clearTimeout(this.soon);
    this.soon = setTimeout(() => this.reload(), SOON);
  }

  /** Start at the top. What is shown stays until the first items have arrived. */
  reload() {
    this.table.scroller.scrollTop = 0;
    if (this.known()) this.read([], PAGE);
  }

  /** Read again what has been read. It stays until that is done. */
  again() {
    if (this.known()) this.read([], Math.max(this.rows.length, PAGE));
  }

  /** The same, but not often for a table that changes all the time. */
  refresh() {
    if (this.timer) {
      this.waits = true;
      return;
    }
    this.waits = false;
    this.timer = setTimeout(() => {
      this.timer = 0;
      if (this.waits && this.element.isConnected) this.refresh();
    }, AGAIN);
    this.again();
  }

  /** Read items until there are enough, or no more. */
  async read(rows, count) {
    const query = { name: this.name, search: this.search.value };
    const turn = ++this.turn;
    this.reading = true;
    let after = rows.length ? this.next : 0;
    let found;
    do {
      try {
        found = await items({ ...query, after, limit: Math.min(MOST, count - rows.length) });
      } catch (error) {
        if (turn === this.turn) this.fail(error);
        return;
      }
      if (turn !== this.turn) return;
      rows = [...rows, ...found.rows];
      after = found.next;
    } while (after !== null && rows.length < count);
    Object.assign(this, { rows, next: after, generation: found.generation, reading: false });
    const matches = `${rows.length.toLocaleString("en")} ${after === null ? (rows.length === 1 ? "match" : "matches") : "or more matches"}`;
    write(this.count, query.search ? `${matches} in ${many(found.items)}` : many(found.items));
    this.table.resize(rows.length);
  }

  fail(error) {
    this.reading = false;
    if (error instanceof SignedOut) this.app.signedOut();
    else write(this.count, printable(error.message));
  }

  /** Read on when the rows near the end are in sight. */
  more(until) {
    if (!this.reading && this.next !== null && until > this.rows.length - NEAR) this.read(this.rows, this.rows.length + MOST);
  }

  key(index) {
    const item = this.rows[index];
    return `${item.type} ${expiry(item)} ${item.key} ${item.value}`;
  }

  row(index) {
    const item = this.rows[index];
    const number = item.type === "int";
    const may = (name) => this.app.may(`htable.${name}`);
    return [
      h("div", { role: "cell", class: "main" }, h("code", { title: printable(item.key) }, printable(item.key))),
      h("div", { role: "cell", class: "item" }, h("span", { class: `value ${number ? "number" : "string"}`, title: printable(item.value) }, printable(item.value) || h("em", {}, "empty"))),
      h("div", { role: "cell", class: "when" }, expiry(item)),
      h("div", { role: "cell", class: "do" },
        may("sets") ? h("button", { type: "button", class: "small", "aria-label": printable(`Edit ${item.key}`), onclick: () => this.edit(item) }, "Edit") : null,
        may("delete") ? h("button", { type: "button", class: "small", "aria-label": printable(`Delete ${item.key}`), onclick: () => this.delete(item) }, "Delete") : null),
    ];
  }

  async edit(item) {
    const { name } = this;
    const [key, value, kind, seconds] = [newId(), newId(), newId(), newId()];
    const field = (id, label, control, hint) => h("div", { class: "field" }, h("div", { class: "about" }, h("label", { for: id }, label), hint ? h("span", { class: "hint" }, hint) : null), control);
    const keyInput = h("input", { id: key, autocomplete: "off", spellcheck: "false" });
    const valueInput = h("input", { id: value, autocomplete: "off", spellcheck: "false" });
    const kindSelect = h("select", { id: kind }, h("option", { value: "text" }, "text"), h("option", { value: "integer" }, "integer"));
    const secondsInput = h("input", { id: seconds, inputmode: "numeric", autocomplete: "off" });
    if (item) {
      keyInput.value = item.key;
      keyInput.readOnly = true;
      valueInput.value = item.value;
      kindSelect.value = item.type === "int" ? "integer" : "text";
    }
    const check = async () => {
      const integer = kindSelect.value === "integer";
      const params = [name, keyInput.value, read(valueInput.value, { kind: integer ? "integer" : "string", schema: {} })];
      if (secondsInput.value) params.push(read(secondsInput.value, { kind: "integer", schema: { minimum: 0 } }));
      const method = `htable.set${params.length === 4 ? "x" : ""}${integer ? "i" : "s"}`;
      return this.app.change(method, params, `${keyInput.value} is set`);
    };
    const sent = await ask(item ? `Edit an item of ${name}` : `Add an item to ${name}`, [
      field(key, "Key", keyInput),
      field(value, "Value", valueInput, item ? `now ${item.value || "empty"}` : null),
      field(kind, "Type", kindSelect),
      field(seconds, "Expires after", secondsInput, "seconds; empty: as the table says"),
    ], { action: item ? "Set" : "Add", check });
    if (sent) this.again();
  }

  async delete(item) {
    const content = [h("p", {}, "The item ", h("code", {}, printable(item.key)), " with the value ", h("code", {}, printable(item.value)), ` is removed from ${printable(this.name)}.`)];
    if (!(await confirmed("Delete it?", content, "Delete"))) return;
    const wrong = await this.app.change("htable.delete", [this.name, item.key], `${item.key} is deleted`);
    if (wrong) say(wrong, true);
    this.again();
  }
}

const many = (count) => `${count.toLocaleString("en")} ${count === 1 ? "item" : "items"}`;

/** When an item expires. */
function expiry({ expires }) {
  return expires ? moment(new Date(Math.round(Number(expires)) * 1000)) : "never";
}
