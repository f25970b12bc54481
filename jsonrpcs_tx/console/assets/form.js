// A form for the parameters of a command, made from its description.

import { h, newId, printable, replace, set, write } from "./dom.js";
import { hidden, isSecret } from "./history.js";
import { isObject, parse, stringify } from "./json.js";
import { read, takes, typed, words } from "./schema.js";

/** The value of a field that is left out. */
const NOTHING = Symbol("nothing");

/** A value that somebody types or chooses. */
class Field {
  /**
   * @param {object} taken what it takes, as `takes` says.
   * @param {object} options `label`, `optional`, `secret`, and `suggest`: returns a promise of texts.
   */
  constructor(taken, { label, optional, secret, suggest, examples = [] }) {
    this.taken = taken;
    this.optional = optional;
    this.name = label;
    this.id = newId();
    this.hint = h("span", { class: "hint", id: `${this.id}h` }, printable(words(taken)));
    this.wrong = h("span", { class: "wrong", id: `${this.id}w`, role: "alert" });
    this.control = this.make(secret, suggest, examples);
    set(this.control, "id", this.id);
    set(this.control, "aria-describedby", `${this.id}h ${this.id}w`);
    set(this.control, "aria-required", optional ? null : "true");
    this.control.addEventListener("input", () => this.complain(""));
    this.label = h("label", { for: this.id }, printable(label), optional ? h("small", {}, "optional") : null);
    this.row = h("div", { class: "control" }, this.control, this.how, this.list);
    this.element = h("div", { class: "field" }, h("div", { class: "about" }, this.label, this.hint), this.row, this.wrong);
  }

  make(secret, suggest, examples) {
    const { kind, choices, schema } = this.taken;
    this.choices = kind === "boolean" ? [true, false] : kind === "null" ? [null] : choices;
    if (this.choices) {
      const named = this.choices.map((value, place) =>
        h("option", { value: place }, printable(typeof value === "string" ? value : stringify(value))),
      );
      const first = this.optional || this.choices.length > 1 ? h("option", { value: "" }, this.optional ? "not given" : "choose…") : null;
      return h("select", {}, first, named);
    }
    if (kind === "json") return h("textarea", { rows: 3, spellcheck: "false", placeholder: schema.type === "array" ? "[ ]" : "{ }" });
    if (["scalar", "any"].includes(kind)) {
      const ways = [["auto", "automatic"], ["text", "as text"], ["number", "as number"], ...(kind === "any" ? [["json", "as JSON"]] : [])];
      this.how = h("select", { class: "how", "aria-label": printable(`How to send ${this.name}`) }, ways.map(([value, name]) => h("option", { value }, name)));
    }
    const numeric = { integer: "numeric", number: "decimal" }[kind];
    const input = h("input", {
      type: secret ? "password" : "text",
      autocomplete: secret ? "new-password" : "off",
      autocapitalize: "off",
      spellcheck: "false",
      inputmode: numeric && !(schema.minimum >= 0) ? "text" : numeric,
    });
    if (!secret && (suggest || examples.length)) this.offer(input, suggest, examples);
    return input;
  }

  /** Offer values while the user types. They are requested when the field gets the focus. */
  offer(input, suggest, examples) {
    const options = (texts) => texts.map((text) => h("option", { value: text }));
    const list = h("datalist", { id: newId() }, options(examples.map(String)));
    set(input, "list", list.id);
    this.list = list;
    if (suggest)
      input.addEventListener("focus", async () => {
        const found = await suggest();
        if (found.length) replace(list, options(found));
      });
  }

  complain(text) {
    write(this.wrong, printable(text));
    set(this.control, "aria-invalid", text ? "true" : null);
  }

  /**
   * The value.
   * @throws {Error} what was typed does not fit; the message says what is allowed.
   */
  read() {
    const text = this.control.value;
    if (this.choices) {
      if (text !== "") return this.choices[text];
      if (this.optional) return NOTHING;
      throw new Error("Choose one");
    }
    if (text === "" && (this.optional || this.taken.kind !== "string")) {
      if (this.optional) return NOTHING;
      if (!["scalar", "any"].includes(this.taken.kind)) throw new Error("Fill this in");
    }
    return read(text, this.taken, this.how?.value);
  }

  fill(value) {
    if (this.choices) {
      const place = this.choices.findIndex((one) => stringify(one) === stringify(value));
      this.control.value = place < 0 ? "" : String(place);
    } else if (hidden(value)) {
      this.control.value = "";
    } else {
      const [text, how] = typed(value, this.taken);
      this.control.value = text;
      if (this.how) this.how.value = [...this.how.options].some((one) => one.value === how) ? how : "auto";
    }
  }
}

/** A parameter that takes any number of values. */
class Repeated {
  constructor(name, make) {
    this.make = make;
    this.fields = [];
    this.list = h("div", { class: "repeated" });
    const add = h("button", { type: "button", class: "small", onclick: () => this.add().control.focus() }, `Add a value`);
    set(add, "aria-label", printable(`Add a value of ${name}`));
    this.element = h("fieldset", {}, h("legend", {}, printable(name), h("small", {}, "any number")), this.list, add);
  }

  add() {
    const field = this.make(this.fields.length + 1);
    const remove = h("button", { type: "button", class: "small", "aria-label": `Remove ${field.label.textContent}` }, "Remove");
    remove.addEventListener("click", () => {
      this.fields.splice(this.fields.indexOf(field), 1);
      field.element.remove();
      (this.fields.at(-1)?.control ?? this.element.lastChild).focus();
    });
    field.row.append(remove);
    this.fields.push(field);
    this.list.append(field.element);
    return field;
  }
}

/** The form of a command. */
export class Form {
  /**
   * @param {object} method of an OpenRPC document.
   * @param {object} named the schemas of that document, by their names.
   * @param {function(string, object)} suggest takes a source and the texts before, by their sources; returns a promise
   *   of texts.
   */
  constructor(method, named, suggest) {
    this.method = method;
    this.parts = [];
    this.rest = null;
    this.area = null;
    for (const parameter of method.params) {
      const taken = takes(parameter.schema ?? {}, named);
      const part = { parameter, taken };
      const make = (label, optional) =>
        new Field(taken, {
          label,
          optional,
          secret: isSecret(method.name, parameter),
          examples: taken.schema.examples,
          suggest: parameter["x-source"] && (() => suggest(parameter["x-source"], this.before(part))),
        });
      if (parameter["x-variadic"]) {
        part.repeated = this.rest = new Repeated(parameter.name, (place) => make(`${parameter.name} ${place}`, false));
      } else {
        part.field = make(parameter.name, !parameter.required);
      }
      this.parts.push(part);
    }
    this.fields = h("div", { class: "fields" }, this.parts.map((part) => (part.field ?? part.repeated).element));
    this.element = h("div", {}, this.fields);
  }

  /** The texts of the parameters before one, by their sources. */
  before(until) {
    const texts = {};
    for (const part of this.parts.slice(0, this.parts.indexOf(until))) {
      const source = part.parameter["x-source"];
      if (source && part.field) texts[source] = part.field.control.value;
    }
    return texts;
  }

  /** Whether the parameters are typed as JSON. */
  get raw() {
    return this.area !== null;
  }

  /** Switch to parameters as JSON, or back to fields. */
  toggle() {
    if (this.raw) {
      const params = this.read();
      if (params === null) return;
      this.area = null;
      replace(this.element, this.fields);
      this.fill(params);
      return;
    }
    const params = this.read(true) ?? [];
    this.area = new Field({ kind: "any", schema: {} }, { label: "Parameters as JSON: an array, or an object by name", optional: false });
    const area = h("textarea", { rows: 6, spellcheck: "false", id: this.area.id, "aria-describedby": `${this.area.id}w` });
    area.addEventListener("input", () => this.area.complain(""));
    replace(this.area.row, area);
    this.area.hint.remove();
    this.area.control = area;
    area.value = stringify(params, "  ");
    replace(this.element, this.area.element);
    area.focus();
  }

  /**
   * The parameters: an array, or an object by name.
   * @param {boolean} lenient whether to leave out what is wrong.
   * @returns {Array|object|null} null: something is wrong; the form says what.
   */
  read(lenient = false) {
    if (this.raw) return this.readRaw();
    const wrong = [];
    const take = (field) => {
      try {
        const value = field.read();
        field.complain("");
        return value;
      } catch (error) {
        if (!lenient) wrong.push([field, error.message]);
        return NOTHING;
      }
    };
    const values = this.parts.filter((part) => part.field).map((part) => take(part.field));
    const rest = this.rest ? this.rest.fields.map(take).filter((value) => value !== NOTHING) : [];
    const params = wrong.length ? null : this.together(values, rest, wrong, lenient);
    for (const [field, text] of wrong) field.complain(text);
    wrong[0]?.[0].control.focus();
    return wrong.length ? null : params;
  }

  /** Put the values together: by name if one is left out in between and names are allowed, otherwise by position. */
  together(values, rest, wrong, lenient) {
    let last = rest.length ? values.length : values.length - 1;
    while (!rest.length && last >= 0 && values[last] === NOTHING) last -= 1;
    const given = values.slice(0, last + 1);
    const parts = this.parts.filter((part) => part.field);
    if (given.includes(NOTHING) && !rest.length && this.method.paramStructure === "either")
      return Object.fromEntries(given.flatMap((value, place) => (value === NOTHING ? [] : [[parts[place].parameter.name, value]])));
    given.forEach((value, place) => {
      if (value !== NOTHING) return;
      const fallback = parts[place].taken.schema.default;
      if (fallback !== undefined) given[place] = fallback;
      else if (!lenient) wrong.push([parts[place].field, "Fill this in, because a later parameter is given"]);
    });
    return [...given.filter((value) => value !== NOTHING), ...rest];
  }

  readRaw() {
    try {
      const params = parse(this.area.control.value.trim() || "[]");
      if (Array.isArray(params) || isObject(params)) return params;
      this.area.complain("Allowed: a JSON array or object");
    } catch (error) {
      this.area.complain(`Not JSON: ${error.message}`);
    }
    this.area.control.focus();
    return null;
  }

  /** Put parameters into the form; those that do not fit into fields are shown as JSON. */
  fill(params) {
    const values = isObject(params) ? this.byPosition(params) : params;
    const single = this.parts.filter((part) => part.field);
    if (values === null || (values.length > single.length && !this.rest)) {
      this.toggle();
      this.area.control.value = stringify(params, "  ");
      return;
    }
    single.forEach((part, place) => place < values.length && values[place] !== NOTHING && part.field.fill(values[place]));
    for (const value of values.slice(single.length)) this.rest.add().fill(value);
  }

  byPosition(params) {
    const names = this.parts.map((part) => part.parameter.name);
    if (this.rest || !Object.keys(params).every((name) => names.includes(name))) return null;
    return names.map((name) => (Object.hasOwn(params, name) ? params[name] : NOTHING));
  }
}
