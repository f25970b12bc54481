// The newest state of the server, received over one connection.

import { session, SignedOut } from "./api.js";
import { parse } from "./json.js";

const NAMES = ["load", "destinations", "tables", "variables", "nodes", "audit"];
const LONGEST = 30;
const PATIENCE = 3000;
const LOAD = 300;
const AUDIT = 500;

/** Seconds without a load after which the former loads are too old to be drawn together with a new one. */
const GAP = 10;

/** Milliseconds after which a hidden page closes its connection: a browser has only six for each server. */
const UNSEEN = 10000;

/**
 * @property {object} state by the name of the event; undefined: it has not come yet; null: it is forbidden, or off.
 */
export class Live {
  /**
   * @param {function(string)} away is told the state of the connection: "on" or "away".
   * @param {function()} ended is called when the session has ended.
   */
  constructor(away, ended) {
    this.state = {};
    this.away = away;
    this.ended = ended;
    this.listeners = new Map();
    this.failures = 0;
    this.source = null;
    this.timer = 0;
    this.stopped = false;
    this.awake = () => this.source === null && this.again();
    this.seen = () => this.look();
  }

  /** Call a function with the newest state, and the event that brought it, whenever an event of that name comes. */
  listen(name, listener) {
    this.listeners.set(name, [...(this.listeners.get(name) ?? []), listener]);
  }

  /** A promise that is fulfilled when the first event of that name has come, or after a few seconds without it. */
  first(name) {
    if (name in this.state) return Promise.resolve();
    return new Promise((resolve) => {
      this.listen(name, resolve);
      setTimeout(resolve, PATIENCE);
    });
  }

  start() {
    this.stopped = false;
    window.addEventListener("online", this.awake);
    document.addEventListener("visibilitychange", this.seen);
    this.open();
  }

  stop() {
    this.stopped = true;
    window.removeEventListener("online", this.awake);
    document.removeEventListener("visibilitychange", this.seen);
    clearTimeout(this.timer);
    this.source?.close();
  }

  open() {
    const source = new EventSource(`events?panels=${NAMES.join(",")}`);
    this.source = source;
    source.addEventListener("open", () => this.away("on"));
    source.addEventListener("error", () => this.retry(source));
    source.addEventListener("end", () => this.retry(source));
    for (const name of NAMES) {
      source.addEventListener(name, (event) => {
        this.failures = 0;
        this.take(name, parse(event.data));
      });
    }
  }

  /** Close the connection some time after the page is hidden, and open it when somebody sees the page again. */
  look() {
    clearTimeout(this.timer);
    if (!document.hidden) return this.source === null && this.again();
    this.timer = setTimeout(() => {
      this.source?.close();
      this.source = null;
    }, UNSEEN);
    return undefined;
  }

  /** The connection is gone: try again after about 1, 2, 4... seconds. */
  retry(source) {
    if (source !== this.source || this.stopped || (source === null && document.hidden)) return;
    source?.close();
    this.source = null;
    this.away("away");
    clearTimeout(this.timer);
    const longest = Math.min(LONGEST, 2 ** this.failures++);
    this.timer = setTimeout(() => this.again(), longest * (500 + Math.random() * 500));
  }

  /** Open the connection again, if the session is still valid: an event source does not say why it is refused. */
  async again() {
    clearTimeout(this.timer);
    try {
      if ((await session()).needs === "password") return this.ended();
    } catch (error) {
      return error instanceof SignedOut ? this.ended() : this.retry(null);
    }
    if (this.source === null && !this.stopped) this.open();
  }

  take(name, data) {
    const nothing = data.forbidden || data.off;
    this.state[name] = nothing ? null : (MERGE[name]?.(this.state[name], data) ?? data);
    for (const listener of this.listeners.get(name) ?? []) listener(this.state[name], data);
  }
}

/** How a new event is merged with the state; by default it replaces it. */
const MERGE = {
  load: (before, data) => [...(data.time - before?.at(-1).time < GAP ? before.slice(1 - LOAD) : []), data],
  destinations: (before, data) => {
    const sets = data.full ? {} : { ...before };
    for (const [id, set] of Object.entries(data.sets)) {
      if (set === null) delete sets[id];
      else sets[id] = set;
    }
    return sets;
  },
  audit: (before, data) => [...(before ?? []), ...data.entries].slice(-AUDIT),
};
