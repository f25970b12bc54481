// The panel of the load: requests and their latency, by transport and by method.

import { Chart, short } from "./charts.js";
import { h, printable, write } from "./dom.js";

const SECONDS = 300;

export class Load {
  constructor(app) {
    this.app = app;
    this.title = "Load";
    this.tiles = new Map();
    this.tileList = h("dl", { class: "tiles" });
    this.requests = new Chart("Requests", "per second", SECONDS);
    this.latency = new Chart("Latency", "ms, 99th percentile of the last minute", SECONDS);
    this.busy = h("tbody", {});
    this.methods = h("div", { class: "scroll card", tabindex: 0, role: "region", "aria-label": "Methods" }, h("table", {},
      h("caption", {}, "Methods"),
      h("thead", {}, h("tr", {}, ["Method", "Calls", "Faults", "Per second", "Mean", "p50", "p99"].map((name) => h("th", { scope: "col" }, name)))), this.busy));
    this.element = h("section", { class: "panel scrolls", "aria-labelledby": "load" }, h("header", {}, h("h1", { id: "load" }, "Load"), app.onlyHere("stats.fetchn")), this.tileList, h("div", { class: "charts" }, this.requests.element, this.latency.element), this.methods);
    app.live.listen("load", () => this.draw());
  }

  show() {
    this.draw();
  }

  draw() {
    if (!this.element.isConnected) return;
    const samples = this.app.live.state.load ?? [];
    if (samples.length === 0) return;
    const now = samples.at(-1);
    this.latency.element.hidden = !now.measured;
    const transports = Object.keys(now.requests).filter((name) => now.requests[name] > 0);
    const rates = transports.map((name) => ({ name, values: differences(samples, (one) => one.requests[name]) }));
    this.requests.show(rates);
    this.latency.show(transports.filter((name) => Object.hasOwn(now.latency, name)).map((name) => ({ name, values: samples.map((one) => milliseconds(one.latency[name])) })));
    const total = rates.reduce((sum, one) => sum + (one.values.at(-1) ?? 0), 0);
    this.tile("Requests per second", short(total));
    this.tile("Connections", short(now.connections));
    this.tile("Memory", `${short(now.memory / 1048576)} MB`);
    this.tile("Reactor lag", `${short(now.lag * 1000)} ms`);
    this.tile("Asynchronous", short(now.async));
    this.drawMethods(now.methods, samples.at(-2)?.methods ?? {});
  }

  tile(name, value) {
    if (!this.tiles.has(name)) {
      const shown = h("dd", {});
      this.tiles.set(name, shown);
      this.tileList.append(h("div", {}, h("dt", {}, name), shown));
    }
    write(this.tiles.get(name), value);
  }

  drawMethods(methods, before) {
    const rows = Object.entries(methods).sort(([, a], [, b]) => b[0] - a[0]);
    this.methods.hidden = rows.length === 0;
    while (this.busy.children.length > rows.length) this.busy.lastChild.remove();
    rows.forEach(([name, [calls, errors, mean, p50, p99]], place) => {
      const row = this.busy.children[place] ?? this.busy.appendChild(h("tr", {}, h("th", { scope: "row" }, h("code", {})), [1, 2, 3, 4, 5, 6].map(() => h("td", { class: "number" }))));
      write(row.firstChild.firstChild, printable(name));
      const rate = Object.hasOwn(before, name) ? calls - before[name][0] : 0;
      [calls.toLocaleString("en"), errors.toLocaleString("en"), short(rate), micro(mean), micro(p50), micro(p99)].forEach((text, at) => write(row.children[at + 1], text));
    });
  }
}

const micro = (value) => (value === null || value === undefined ? "–" : value < 1000 ? `${short(value)} µs` : `${short(value / 1000)} ms`);

/** How much a counter grew between samples, per second; null where that is not known. */
function differences(samples, read) {
  return samples.slice(1).map((one, place) => {
    const [before, seconds] = [read(samples[place]) ?? 0, one.time - samples[place].time];
    const grown = (read(one) ?? 0) - before;
    return seconds > 0 && seconds < 5 && grown >= 0 ? grown / seconds : null;
  });
}

/** The 99th percentile of a row of calls, mean, median and 99th percentile, in milliseconds; null: there were no calls. */
const milliseconds = (row) => (row?.[3] == null ? null : row[3] / 1000);
