// Long tables: only the rows that are in sight are in the page.

import { h, set } from "./dom.js";

const BEYOND = 8;

/**
 * A table of rows of the same height, that scrolls.
 *
 * `row(index)` makes the cells of a row: an array of elements. `key(index)` says what a row shows: it is made again
 * only if that changes.
 */
export class VirtualTable {
  /**
   * @param {string} label of the table.
   * @param {string} kind a class for the style; the style sets --row, the height of a row in pixels.
   * @param {Array<string>} columns their headings.
   */
  constructor(label, kind, columns, row, key) {
    this.row = row;
    this.key = key;
    this.count = 0;
    this.rows = new Map();
    this.onshow = () => {};
    this.body = h("div", { role: "rowgroup", class: "rows" });
    const head = h(
      "div",
      { role: "row", class: "row head", "aria-rowindex": 1 },
      columns.map((name) => h("div", { role: "columnheader" }, name)),
    );
    this.scroller = h(
      "div",
      { class: `virtual ${kind}`, role: "table", "aria-label": label, tabindex: 0 },
      h("div", { role: "rowgroup", class: "heads" }, head),
      this.body,
    );
    this.element = this.scroller;
    this.scroller.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(this.scroller);
  }

  /** Set the number of rows, and draw what has changed. */
  resize(count) {
    this.count = count;
    set(this.element, "aria-rowcount", count + 1);
    this.draw();
  }

  /** The first row that can be seen, and the one after the last. */
  window() {
    const top = Math.floor(this.scroller.scrollTop / this.height);
    const fits = Math.ceil(this.scroller.clientHeight / this.height) + 1;
    return [Math.max(0, top - BEYOND), Math.min(this.count, top + fits + BEYOND)];
  }

  draw() {
    this.height = parseFloat(getComputedStyle(this.scroller).getPropertyValue("--row")) || 44;
    this.body.style.height = `${this.count * this.height}px`;
    const [from, until] = this.window();
    for (const [index, shown] of this.rows) {
      const used = shown.element.contains(document.activeElement);
      if (index >= this.count || ((index < from || index >= until) && !used)) {
        shown.element.remove();
        this.rows.delete(index);
      }
    }
    for (let index = from; index < until; index += 1) this.place(index);
    this.onshow(from, until);
  }

  place(index) {
    const key = this.key(index);
    let shown = this.rows.get(index);
    if (shown === undefined) {
      shown = { element: h("div", { role: "row", class: "row", "aria-rowindex": index + 2 }), key: {} };
      this.rows.set(index, shown);
      this.insert(index, shown.element);
    }
    shown.element.style.transform = `translateY(${index * this.height}px)`;
    if (shown.key === key) return;
    shown.key = key;
    const place = this.focused(shown.element);
    shown.element.replaceChildren(...this.row(index));
    if (place >= 0) shown.element.querySelectorAll("button")[place]?.focus();
  }

  /** The position of the button of a row that has the focus, so that it can be restored when the row is made again. */
  focused(element) {
    return [...element.querySelectorAll("button")].indexOf(document.activeElement);
  }

  /** Insert a row in its order, which is that of the Tab key. */
  insert(index, element) {
    let next = null;
    let nearest = Infinity;
    for (const [other, shown] of this.rows) {
      if (other > index && other < nearest && shown.element !== element) {
        nearest = other;
        next = shown.element;
      }
    }
    this.body.insertBefore(element, next);
  }
}
