// What all panels share: the session, the live state, descriptions of commands, and calls.

import { call, description, SignedOut } from "./api.js";
import { confirmed, confirmedByName, say } from "./dialog.js";
import { h, printable } from "./dom.js";
import { isObject } from "./json.js";
import { oneLine } from "./reply.js";

const SAMPLED = 3;

/** What commands do, in words: from those that are sent at once to those whose name must be typed first. */
export const EFFECTS = ["reads", "changes", "dangerous"];

/** The address of a command in the panel of commands, to be called on a target; of the list if the name is empty. */
export const commandAddress = (name, target) => `#/commands${name ? `/${encodeURIComponent(name)}` : ""}${target ? `?on=${encodeURIComponent(target)}` : ""}`;

export class App {
  /**
   * @param {object} session as the server describes it.
   * @param {Live} live
   * @param {function()} signedOut is called when a password is needed again.
   */
  constructor(session, live, signedOut) {
    this.session = session;
    this.live = live;
    this.signedOut = signedOut;
    this.descriptions = new Map();
    this.own = new Map();
  }

  /** Whether the caller may call a command of this server. */
  may(method) {
    return this.own.has(method);
  }

  /**
   * The commands of a target.
   * @returns {Promise<{methods: Map, url: string}>} the methods by name, each with its schemas as `named`.
   */
  describe(target) {
    if (!this.descriptions.has(target)) {
      const found = this.load(target);
      found.catch((error) => {
        this.descriptions.delete(target);
        if (error instanceof SignedOut) this.signedOut();
      });
      this.descriptions.set(target, found);
    }
    return this.descriptions.get(target);
  }

  async load(target) {
    if (this.many(target)) await this.live.first("nodes");
    const nodes = this.members(target);
    const documents = await Promise.allSettled(nodes.map(description));
    const good = documents.filter((one) => one.status === "fulfilled").map((one) => one.value);
    if (good.length === 0) throw documents[0]?.reason ?? new Error("none of its nodes is known");
    const methods = new Map();
    for (const one of good) {
      const named = one.components?.schemas ?? {};
      for (const method of one.methods) methods.set(method.name, { ...method, named });
    }
    if (target === "") this.own = methods;
    return { methods, url: this.url(good[0], target) };
  }

  /** The nodes whose documents describe a target: itself, or some nodes of a group. */
  members(target) {
    if (!this.many(target)) return [target];
    const known = this.live.state.nodes ?? [];
    const names = known
      .filter((node) => target === "*" || node.groups.includes(target))
      .sort((a, b) => (b.state === "up") - (a.state === "up"))
      .map((node) => node.name);
    return (names.length ? names : target === "*" ? this.session.nodes : []).slice(0, SAMPLED);
  }

  /** Where a target is called from outside the console. */
  url(document, target) {
    const told = document.servers?.[0]?.url;
    if (told && !this.many(target)) return told;
    const own = told?.replace(/\/[^/]*$/, "") ?? this.ownUrl;
    return target ? `${own}/${encodeURIComponent(target)}` : own;
  }

  /** Where this server is called, unless its description says so. */
  get ownUrl() {
    return new URL(this.session.path ?? "/RPC", location.href).href;
  }

  /** Where there are nodes: a note that a panel shows this server alone, with the command that returns the same for them. */
  onlyHere(method) {
    if (this.session.nodes.length === 0) return null;
    return h("p", { class: "count" }, "This server only; for nodes, call ", h("a", { href: commandAddress(method, "*") }, method), " on them");
  }

  /** Whether a target stands for many nodes. */
  many(target) {
    return target === "*" || this.session.groups.includes(target);
  }

  /** Call a command. If the session has ended, `signedOut` is called. */
  async call(target, method, params) {
    try {
      return await call(target, method, params);
    } catch (error) {
      if (error instanceof SignedOut) this.signedOut();
      else say(`The server cannot be reached: ${error.message}`, true);
      throw error;
    }
  }

  /** Ask before a call that does more than read is sent. */
  async allowed(target, method, params) {
    const effect = method.name === "gateway.call" ? "unknown" : method["x-effect"];
    if (effect === "reads") return true;
    const where = target ? ` on ${this.many(target) ? (target === "*" ? "all nodes" : `all nodes of ${target}`) : target}` : "";
    const content = [
      h("p", {}, EXPLAINED[effect] ?? EXPLAINED.unknown),
      h("p", { class: "call" }, h("code", {}, printable(method.name)), printable(where)),
      parameters(params, method),
    ];
    const title = `Send ${method.name}?`;
    return effect === "dangerous" ? confirmedByName(title, content, method.name) : confirmed(title, content);
  }

  /**
   * Make a change for a panel, which has asked already, and say that it is done.
   * @returns {Promise<string>} what went wrong; empty: nothing did.
   */
  async change(method, params, done) {
    const outcome = await this.call("", method, params);
    if (outcome.fault) return `Fault ${outcome.fault.code}: ${outcome.fault.message}`;
    say(done);
    return "";
  }
}

const EXPLAINED = {
  changes: "This command changes something.",
  dangerous: "This command is dangerous: it may stop the server, or lose data.",
  unknown: "It is not known what this command does; it may change something.",
};

function parameters(params, method) {
  const pairs = isObject(params) ? Object.entries(params) : params.map((value, position) => [named(method, position), value]);
  if (pairs.length === 0) return h("p", {}, "Without parameters.");
  const secret = (name) => method.params?.some((one) => one.name === name && one["x-secret"]);
  return h("dl", { class: "given" }, pairs.map(([name, value]) => [
    h("dt", {}, printable(name)),
    h("dd", {}, secret(name) ? "(hidden)" : oneLine(value)),
  ]));
}

const named = (method, position) => method.params?.[Math.min(position, method.params.length - 1)]?.name ?? String(position + 1);
