// Charts of lines, in SVG.

import { h, replace, set, svg, write } from "./dom.js";

const HEIGHT = 168;
const LEFT = 46;
const BOTTOM = 20;
const TOP = 8;
const COLOURS = 6;

/** A number in few characters: 12, 3.4, 12 k. */
export function short(value) {
  if (value === null || value === undefined || !Number.isFinite(Number(value))) return "–";
  const number = Number(value);
  for (const [limit, unit] of [
    [1e9, "G"],
    [1e6, "M"],
    [1e4, "k"],
  ]) {
    if (Math.abs(number) >= limit) return `${round(number / (limit === 1e4 ? 1e3 : limit))} ${unit}`;
  }
  return round(number);
}

const round = (number) => String(Math.abs(number) >= 100 || number === 0 ? Math.round(number) : Number(number.toPrecision(2)));

/** The end of an axis that reaches a value: 1, 2 or 5 times a power of ten. */
function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => step * power >= value * 0.9999);
}

/** A chart of values by time; the newest is at the right. */
export class Chart {
  /**
   * @param {string} title
   * @param {string} unit of the values.
   * @param {number} length how many values fit, one for each second.
   */
  constructor(title, unit, length) {
    this.title = title;
    this.unit = unit;
    this.length = length;
    this.series = [];
    this.cursor = null;
    this.width = 0;
    this.legend = h("ul", { class: "legend" });
    this.picture = svg("svg", { role: "img", height: HEIGHT });
    this.picture.addEventListener("pointermove", (event) => this.point(event));
    this.picture.addEventListener("pointerleave", () => this.point(null));
    this.element = h("figure", { class: "chart" }, h("figcaption", {}, title, h("span", {}, unit)), this.picture, this.legend);
    new ResizeObserver(([entry]) => {
      this.width = Math.floor(entry.contentRect.width);
      this.draw();
    }).observe(this.element);
  }

  /** @param {Array<{name: string, values: Array<number|null>}>} series of values, the newest last. */
  show(series) {
    this.series = series;
    this.draw();
  }

  point(event) {
    const step = (this.width - LEFT) / (this.length - 1);
    this.cursor = event && Math.round((this.width - (event.clientX - this.picture.getBoundingClientRect().left)) / step);
    this.draw();
  }

  draw() {
    if (!this.width || !this.element.isConnected) return;
    const all = this.series.flatMap((one) => one.values).filter((value) => value !== null);
    const most = ceiling(all.reduce((a, b) => Math.max(a, b), 0));
    set(this.picture, "width", this.width);
    set(this.picture, "viewBox", `0 0 ${this.width} ${HEIGHT}`);
    const high = HEIGHT - BOTTOM - TOP;
    const x = (age) => this.width - 2 - (age * (this.width - LEFT - 2)) / (this.length - 1);
    const y = (value) => TOP + high - (value / most) * high;
    const parts = [0, 0.5, 1].flatMap((part) => [
      svg("line", { class: "grid", x1: LEFT, x2: this.width, y1: y(part * most), y2: y(part * most) }),
      svg("text", { class: "axis", x: LEFT - 8, y: y(part * most) + 4, "text-anchor": "end" }, short(part * most)),
    ]);
    const minutes = Math.floor((this.length - 1) / 60);
    for (let minute = 1; minute <= minutes; minute += 1) {
      if (x(minute * 60) > LEFT + 20)
        parts.push(
          svg("text", { class: "axis", x: x(minute * 60), y: HEIGHT - 4, "text-anchor": "middle" }, `−${minute} min`),
        );
    }
    this.series.forEach((one, place) => {
      const last = one.values.length - 1;
      let path = "";
      one.values.forEach((value, index) => {
        if (value === null) return;
        const begins = index === 0 || one.values[index - 1] === null;
        path += `${begins ? "M" : "L"}${x(last - index).toFixed(1)} ${y(value).toFixed(1)}`;
      });
      parts.push(svg("path", { class: `line c${place % COLOURS}`, d: path }));
    });
    if (this.cursor !== null && this.cursor >= 0 && this.cursor < this.length)
      parts.push(svg("line", { class: "cursor", x1: x(this.cursor), x2: x(this.cursor), y1: TOP, y2: TOP + high }));
    replace(this.picture, parts);
    this.label();
  }

  /** Show the values in the legend: the newest ones, or those under the pointer. */
  label() {
    const at = this.cursor ?? 0;
    const said = this.series.map((one) => [one.name, short(one.values[one.values.length - 1 - at])]);
    set(this.picture, "aria-label", `${this.title}: ${said.map(([name, value]) => `${name} ${value}`).join(", ") || "nothing yet"} ${this.unit}`);
    while (this.legend.children.length > said.length) this.legend.lastChild.remove();
    said.forEach(([name, value], place) => {
      const item = this.legend.children[place] ?? this.legend.appendChild(h("li", {}, h("i", { class: `c${place % COLOURS}` }), h("span", {}), h("b", {})));
      write(item.children[1], name);
      write(item.children[2], value);
    });
  }
}
