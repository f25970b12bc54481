// A reply: as a table, as a tree, or as the document itself.

import { copy } from "./dialog.js";
import { h, printable, printableLines, replace, set } from "./dom.js";
import { isNumber, isObject, Numeral, stringify } from "./json.js";
import { duration } from "./times.js";

const ROWS = 200;
const COLUMNS = 30;
const RAW = 1_000_000;
const OPEN = 60;
const TABLES = 3;

const nested = (value) => Array.isArray(value) || isObject(value);

/** A value that is neither an array nor an object. */
function scalar(value) {
  const kind = value === null ? "null" : isNumber(value) ? "number" : typeof value;
  return h("span", { class: `value ${kind}` }, kind === "string" ? printable(value) || h("em", {}, "empty text") : String(value));
}

/** The rows of a table: objects, without a wrapper that all of them have, such as `{"DEST": {...}}`; null: it is not a list of objects. */
function records(value) {
  if (!Array.isArray(value) || value.length === 0 || !value.every(isObject)) return null;
  const [only, ...others] = Object.keys(value[0]);
  const wrapped = others.length === 0 && value.every((one) => Object.keys(one).length === 1 && isObject(one[only]));
  return wrapped ? value.map((one) => one[only]) : value;
}

function columnsOf(rows) {
  const names = new Set();
  for (const row of rows) for (const name of Object.keys(row)) names.add(name);
  return [...names];
}

/** Whether a value can be shown as a table. */
function tabular(value) {
  if (isObject(value)) {
    const members = Object.values(value);
    return members.length > 0 && members.every((one) => !nested(one) || records(one) !== null);
  }
  const rows = records(value);
  return Array.isArray(value) && value.length > 0 && (rows === null ? !value.some(nested) : columnsOf(rows).length <= COLUMNS);
}

/** Add items step by step: the first ones now, others when a button is clicked. */
function inParts(list, count, make, wrap = (button) => button) {
  let done = 0;
  const more = () => {
    const until = Math.min(count, done + ROWS);
    const made = [];
    for (; done < until; done += 1) made.push(make(done));
    list.append(...made);
    if (done < count) {
      const button = h("button", { type: "button", class: "small" }, `Show more (${count - done} left)`);
      const holder = wrap(button);
      button.addEventListener("click", () => {
        holder.remove();
        more();
      });
      list.append(holder);
    }
  };
  more();
  return list;
}

function cell(value, depth) {
  if (!nested(value)) return scalar(value);
  return records(value) && depth < TABLES ? table(value, depth + 1) : tree(value, 0);
}

/** A value as a table, whose cells may hold tables, to some depth. */
function table(value, depth = 1) {
  const rows = records(value);
  const columns = rows && columnsOf(rows);
  const body = h("tbody", {});
  const wide = (button) => h("tr", {}, h("td", { colspan: columns?.length ?? 2 }, button));
  if (rows) {
    inParts(body, rows.length, (place) => h("tr", {}, columns.map((name) => h("td", {}, Object.hasOwn(rows[place], name) ? cell(rows[place][name], depth) : null))), wide);
    return h("table", {}, h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, printable(name))))), body);
  }
  const pairs = Array.isArray(value) ? value.map((one, place) => [place + 1, one]) : Object.entries(value);
  inParts(body, pairs.length, (place) => h("tr", {}, h("th", { scope: "row" }, printable(pairs[place][0])), h("td", {}, cell(pairs[place][1], depth))), wide);
  return h("table", { class: "pairs" }, body);
}

/**
 * A value as a tree whose branches open and close.
 * @param {number} open how many members are open at first; 0: the tree itself is closed.
 */
export function tree(value, open = OPEN) {
  if (!nested(value)) return scalar(value);
  const array = Array.isArray(value);
  const pairs = array ? value.map((one, place) => [place, one]) : Object.entries(value);
  if (pairs.length === 0) return h("span", { class: "value null" }, array ? "empty list" : "empty object");
  const list = h("ul", { class: "tree" });
  const branch = ([name, one]) => {
    const label = h("span", { class: array ? "place" : "name" }, printable(name));
    return nested(one) ? h("li", {}, lazily(one, label, open - pairs.length)) : h("li", {}, label, scalar(one));
  };
  if (open > 0) return inParts(list, pairs.length, (place) => branch(pairs[place]), (button) => h("li", {}, button));
  return lazily(value, null, 0);
}

function lazily(value, label, open) {
  const count = Array.isArray(value) ? value.length : Object.keys(value).length;
  if (count === 0) return h("span", {}, label, tree(value));
  const what = Array.isArray(value) ? (count === 1 ? "item" : "items") : count === 1 ? "member" : "members";
  const details = h("details", {}, h("summary", {}, label, h("small", {}, `${count} ${what}`)));
  let filled = false;
  const fill = () => {
    if (!filled) details.append(tree(value, Math.max(open, 1)));
    filled = true;
  };
  details.addEventListener("toggle", fill);
  if (open > count) {
    fill();
    details.open = true;
  }
  return details;
}

function raw(text) {
  const shown = text.length > RAW ? `${text.slice(0, RAW)}\n… (${text.length.toLocaleString("en")} characters in all; "Copy reply" has them)` : text;
  return h("pre", {}, printableLines(shown));
}

/** A fault in full. */
function fault({ code, message, data }) {
  return h(
    "div",
    { class: "fault" },
    h("p", {}, h("strong", {}, `Fault ${printable(code ?? "")}`), " ", printable(message ?? "")),
    data === undefined || data === null ? null : tree(data),
  );
}

/** The results of many nodes, side by side: `{node: {result} or {error}}`. */
function sideBySide(result) {
  return h(
    "div",
    { class: "beside" },
    Object.entries(result).map(([node, one]) =>
      h(
        "section",
        { class: "card", "aria-label": printable(node) },
        h("h2", {}, printable(node), h("span", { class: `badge ${one.error ? "bad" : "good"}` }, one.error ? `fault ${printable(one.error.code ?? "")}` : "result")),
        one.error ? fault(one.error) : tabular(one.result) ? scrolling(table(one.result), `Result of ${node}`) : tree(one.result),
      ),
    ),
  );
}

/** Content that may be wider than the page, in an area of its own that scrolls, with the keyboard as well. */
function scrolling(content, label) {
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": printable(label) }, content);
}

const isMany = (result) =>
  isObject(result) && Object.values(result).length > 0 && Object.values(result).every((one) => isObject(one) && ("result" in one || isObject(one.error)));

let chosen = "";

/**
 * Show the outcome of a call.
 * @param {object} outcome as `call` in api.js returns it.
 * @param {boolean} many whether several nodes were called.
 * @param {Array<{name, text}>} copies command lines to copy.
 */
export function reply(outcome, many, copies) {
  const failed = outcome.fault !== undefined;
  const views = [];
  if (!failed && many && isMany(outcome.result)) views.push(["Side by side", () => sideBySide(outcome.result)]);
  if (!failed && tabular(outcome.result)) views.push(["Table", () => scrolling(table(outcome.result), "Result as a table")]);
  if (!failed) views.push(["Tree", () => scrolling(tree(outcome.result), "Result as a tree")]);
  if (failed) views.push(["Fault", () => fault(outcome.fault)]);
  views.push(["Raw", () => scrolling(raw(outcome.raw), "The document as it came")]);
  const shown = h("div", { class: "shown" });
  const tabs = views.map(([name, make]) =>
    h("button", { type: "button", onclick: () => choose((chosen = name), make) }, name),
  );
  const choose = (name, make) => {
    tabs.forEach((tab) => set(tab, "aria-pressed", tab.textContent === name ? "true" : "false"));
    replace(shown, make());
  };
  choose(...((!failed && views.find(([name]) => name === chosen)) || views[0]));
  const size = outcome.raw.length;
  return h(
    "div",
    { class: "reply" },
    h(
      "p",
      { class: "outcome" },
      h("span", { class: `badge ${failed ? "bad" : "good"}` }, failed ? `Fault ${printable(outcome.fault.code ?? "")}` : "Result"),
      h("span", {}, failed ? printable(outcome.fault.message ?? "") : ""),
      h("span", { class: "took" }, `${duration(outcome.ms)} · ${size.toLocaleString("en")} ${size === 1 ? "character" : "characters"}`),
    ),
    h("div", { class: "actions" }, h("div", { class: "segments", role: "group", "aria-label": "View" }, tabs), h("span", { class: "space" }),
      copies.map(({ name, text }) => h("button", { type: "button", class: "small", onclick: () => copy(text(), name) }, `Copy ${name}`)),
      h("button", { type: "button", class: "small", onclick: () => copy(outcome.raw, "reply") }, "Copy reply"),
    ),
    shown,
  );
}

/** A value on one line, for tables and questions. */
export const oneLine = (value) => printable(typeof value === "string" ? value : value instanceof Numeral ? value.text : stringify(value));
