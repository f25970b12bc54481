// The page: who is signed in, and which panel is shown.

import { session, SignedOut, signOut } from "./api.js";
import { App } from "./app.js";
import { Audit } from "./audit.js";
import { Commands } from "./commands.js";
import { Destinations } from "./destinations.js";
import { say } from "./dialog.js";
import { h, printable, replace, set, write } from "./dom.js";
import { forget } from "./history.js";
import { Live } from "./live.js";
import { Load } from "./load.js";
import { Nodes } from "./nodes.js";
import { signInForm } from "./signin.js";
import { Tables } from "./tables.js";
import { Variables } from "./variables.js";

const PANELS = { commands: Commands, load: Load, destinations: Destinations, tables: Tables, variables: Variables, nodes: Nodes, audit: Audit };
const RETRY = 3000;

const main = document.getElementById("main");
const top = document.getElementById("top");
const navigation = document.getElementById("panels");

const brand = () => [h("img", { src: "assets/icon.svg", alt: "", width: 28, height: 28 }), h("span", {}, "jsonrpcs")];

/** What the address after `#` names: a panel, something in it, and a query. */
function route() {
  const [path, query = ""] = location.hash.replace(/^#?\/?/, "").split("?");
  const [panel, ...rest] = path.split("/");
  if (!Object.hasOwn(PANELS, panel)) return { panel: "commands", argument: "", query: new URLSearchParams() };
  let argument = "";
  try {
    argument = decodeURIComponent(rest.join("/"));
  } catch {
    // the address was cut off
  }
  return { panel, argument, query: new URLSearchParams(query) };
}

/** The console of somebody who has signed in, or need not sign in. */
class Console {
  constructor(found) {
    this.session = found;
    this.live = new Live((state) => this.connection(state), () => this.end());
    this.app = new App(found, this.live, () => this.end());
    this.panels = {};
    this.links = {};
    this.shows = () => this.show();
  }

  /** Read what the caller may do, then show everything. */
  async prepare() {
    await this.app.describe("").catch(() => null);
    for (const [name, Panel] of Object.entries(PANELS)) {
      this.panels[name] = new Panel(this.app);
      this.links[name] = h("a", { href: `#/${name}` }, this.panels[name].title);
      this.live.listen(name, () => this.offer(name));
    }
  }

  open() {
    const { user, version } = this.session;
    this.state = h("span", { class: "connection", role: "status" });
    const out = h("button", { type: "button", class: "quiet", onclick: () => this.leave() }, "Sign out");
    replace(top,
      h("a", { class: "brand", href: "#/commands" }, brand(), version ? h("small", {}, printable(version)) : null),
      h("span", { class: "space" }), this.state,
      user ? [h("span", { class: "user" }, h("span", { class: "unseen" }, "Signed in as "), printable(user)), out] : null);
    replace(navigation, h("ul", {}, Object.entries(this.links).map(([name, link]) => h("li", { "data-panel": name }, link))));
    for (const name of Object.keys(PANELS)) this.offer(name);
    navigation.hidden = false;
    window.addEventListener("hashchange", this.shows);
    this.live.start();
    this.show();
  }

  /** Show the link to a panel once there is something to see in it. */
  offer(name) {
    const item = navigation.querySelector(`[data-panel="${name}"]`);
    const empty = name === "nodes" && this.session.nodes.length === 0;
    const was = item.hidden;
    item.hidden = name !== "commands" && (empty || !this.live.state[name]);
    if (was !== item.hidden && this.shown === name) this.show();
  }

  show() {
    const { panel, argument, query } = route();
    for (const [name, link] of Object.entries(this.links)) set(link, "aria-current", name === panel ? "page" : null);
    this.links[panel].scrollIntoView({ block: "nearest", inline: "nearest" });
    this.shown = panel;
    const { title, element } = this.panels[panel];
    document.title = `${[printable(argument), title].filter(Boolean).join(" · ")} · jsonrpcs`;
    if (panel !== "commands" && !this.live.state[panel]) {
      const forbidden = this.live.state[panel] === null;
      replace(main, h("section", { class: "panel" }, h("h1", {}, title), h("p", { class: "empty" }, forbidden ? "You may not see this." : "There is no data yet.")));
      return;
    }
    if (element.parentNode !== main) replace(main, element);
    this.panels[panel].show(argument, query);
  }

  connection(state) {
    set(this.state, "class", `connection ${state}`);
    write(this.state, state === "on" ? "live" : "away, trying again…");
  }

  close() {
    this.live.stop();
    window.removeEventListener("hashchange", this.shows);
    document.querySelectorAll("dialog[open]").forEach((dialog) => dialog.close());
  }

  /** The session has ended: ask for the password, then go on with this console. */
  end() {
    if (this.live.stopped) return;
    this.close();
    enter("Your session has ended. Sign in again to go on.", this);
  }

  async leave() {
    try {
      await signOut();
    } catch (error) {
      if (!(error instanceof SignedOut)) {
        say(`Not signed out: ${error.message}`, true);
        return;
      }
    }
    forget();
    this.close();
    location.hash = "";
    enter("You are signed out.", null);
  }
}

/** Show the console, or first the form to sign in. */
async function enter(why, before) {
  let found;
  try {
    found = await session();
  } catch (error) {
    if (!(error instanceof SignedOut)) {
      replace(main, h("p", { class: "empty", role: "alert" }, printable(`The server cannot be reached: ${error.message}`)));
      setTimeout(() => enter(why, before), RETRY);
      return;
    }
    found = { needs: "password" };
  }
  if (found.needs === "password") {
    navigation.hidden = true;
    replace(top, h("span", { class: "brand" }, brand()));
    const form = signInForm(() => enter("", before), why);
    document.title = "Sign in · jsonrpcs";
    replace(main, form.element);
    form.focus();
    return;
  }
  if (before !== null && before.session.user !== found.user) {
    forget();
    before = null;
  }
  if (found.may && !found.may.call) {
    navigation.hidden = true;
    replace(main, h("p", { class: "empty" }, "The rules do not allow you anything here."));
    return;
  }
  const shown = before ?? new Console({ nodes: [], groups: [], ...found });
  if (before === null) {
    replace(main, h("p", { class: "empty" }, "One moment…"));
    await shown.prepare();
  }
  shown.open();
}

enter("", null);
