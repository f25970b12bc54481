// JSON that keeps the digits of every number.

/** A number that a JavaScript number cannot hold, or would be written differently: 9007199254740993, 1.10. */
export class Numeral {
  constructor(text) {
    this.text = text;
  }

  toString() {
    return this.text;
  }
}

/** A number in JSON, given as text: a JavaScript number, or a Numeral. */
export function number(text) {
  const value = Number(text);
  return String(value) === text ? value : new Numeral(text);
}

export const isNumber = (value) => typeof value === "number" || value instanceof Numeral;
export const isObject = (value) =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Numeral);

const SUSPECT = /\d{16}|\d[.eE]\d|\d[eE][+-]|-0/;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const STRING = /"[^"\\\u0000-\u001f]*(?:\\.[^"\\\u0000-\u001f]*)*"/y;
const BLANKS = /[ \t\n\r]*/y;
const WORDS = { t: ["true", true], f: ["false", false], n: ["null", null] };
const DEPTH = 1000;

/**
 * Read a document.
 * @throws {SyntaxError} it is not JSON.
 */
export function parse(text) {
  let value;
  try {
    value = SUSPECT.test(text) ? undefined : JSON.parse(text); // which is much faster
  } catch {
    // the reader has the better message
  }
  if (value === undefined) return new Reader(text).document();
  limit(value);
  return value;
}

const tooDeep = () => new SyntaxError(`more than ${DEPTH} levels`);

/** Refuse a value with too many levels: showing it would overflow the stack. */
function limit(value) {
  let level = [value];
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > DEPTH) throw tooDeep();
    level = level.flatMap((one) => (typeof one === "object" && one !== null ? Object.values(one) : []));
  }
}

class Reader {
  constructor(text) {
    this.text = text;
    this.place = 0;
  }

  document() {
    const value = this.value(0);
    this.blanks();
    if (this.place < this.text.length) this.fail();
    return value;
  }

  value(depth) {
    if (depth > DEPTH) throw tooDeep();
    this.blanks();
    const first = this.text[this.place];
    if (first === '"') return this.string();
    if (first === "{") return this.object(depth);
    if (first === "[") return this.array(depth);
    const word = WORDS[first];
    if (word && this.text.startsWith(word[0], this.place)) {
      this.place += word[0].length;
      return word[1];
    }
    return number(this.token(NUMBER));
  }

  object(depth) {
    const members = [];
    this.list("}", () => {
      this.blanks();
      const name = this.string();
      this.blanks();
      this.expect(":");
      members.push([name, this.value(depth + 1)]);
    });
    return Object.fromEntries(members); // which takes any name, "__proto__" as well
  }

  array(depth) {
    const items = [];
    this.list("]", () => items.push(this.value(depth + 1)));
    return items;
  }

  list(end, item) {
    this.place += 1;
    this.blanks();
    if (this.text[this.place] === end) {
      this.place += 1;
      return;
    }
    for (;;) {
      item();
      this.blanks();
      if (this.text[this.place] === end) break;
      this.expect(",");
    }
    this.place += 1;
  }

  string() {
    const token = this.token(STRING);
    return token.includes("\\") ? JSON.parse(token) : token.slice(1, -1);
  }

  token(pattern) {
    pattern.lastIndex = this.place;
    const found = pattern.exec(this.text);
    if (found === null) this.fail();
    this.place = pattern.lastIndex;
    return found[0];
  }

  blanks() {
    BLANKS.lastIndex = this.place;
    BLANKS.exec(this.text);
    this.place = BLANKS.lastIndex;
  }

  expect(character) {
    if (this.text[this.place] !== character) this.fail();
    this.place += 1;
  }

  fail() {
    const found = this.text[this.place];
    throw new SyntaxError(found === undefined ? "it ends too early" : `at character ${this.place + 1}: ${found}`);
  }
}

/** Write a value on one line, or with an indent on several. */
export function stringify(value, indent = "", before = "\n") {
  if (value instanceof Numeral) return value.text;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const inner = indent && before + indent;
  const array = Array.isArray(value);
  const items = array
    ? value.map((one) => stringify(one, indent, inner))
    : Object.entries(value).map(
        ([name, one]) => `${JSON.stringify(name)}:${indent && " "}${stringify(one, indent, inner)}`,
      );
  const [open, close] = array ? "[]" : "{}";
  if (items.length === 0) return open + close;
  return open + items.map((one) => inner + one).join(",") + (indent && before) + close;
}
