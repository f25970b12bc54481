// What a JSON Schema says of a parameter, as far as a form can use it.

import { isNumber, isObject, Numeral, number, parse, stringify } from "./json.js";

const PREFIX = "#/components/schemas/";
const INTEGER = /^-?(0|[1-9]\d*)$/;
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

/** A schema with its reference followed. */
function resolve(schema, named) {
  const found = schema.$ref?.startsWith(PREFIX) ? named[schema.$ref.slice(PREFIX.length)] : undefined;
  return isObject(found) ? { ...found, ...schema, $ref: undefined } : schema;
}

/**
 * What a parameter takes.
 * @returns {{kind: string, choices: Array, null: boolean}} kind: choice, boolean, integer, number, string, scalar (text
 *   or number), any (that or JSON), json.
 */
export function takes(given, named) {
  const schema = resolve(given, named);
  if ("const" in schema) return { kind: "choice", choices: [schema.const], schema };
  if (Array.isArray(schema.enum)) return { kind: "choice", choices: schema.enum, schema };
  const types = [schema.type ?? []].flat();
  const parts = schema.anyOf ?? schema.oneOf ?? (types.length > 1 ? types.map((type) => ({ type })) : null);
  if (!parts) return { kind: KINDS[types[0]] ?? (types.length ? "json" : "any"), schema };
  const kinds = parts.map((part) => takes(part, named));
  if (kinds.every((one) => one.kind === "choice"))
    return { kind: "choice", choices: kinds.flatMap((one) => one.choices), schema };
  const real = kinds.filter((one) => one.kind !== "null");
  if (real.length === 1 && real[0].kind !== "choice") return { ...real[0], schema: { ...real[0].schema, default: schema.default } };
  return { kind: real.every((one) => SCALARS.includes(one.kind)) ? "scalar" : "any", schema };
}

const KINDS = { string: "string", integer: "integer", number: "number", boolean: "boolean", null: "null" };
const SCALARS = ["string", "integer", "number"];

/** What a parameter takes, in words. */
export function words({ kind, schema }) {
  const what = {
    boolean: "true or false",
    integer: "whole number",
    number: "number",
    string: schema.format ?? "text",
    scalar: "text or number",
    any: "any value",
    choice: "choice",
    null: "null",
  }[kind] ?? (schema.type === "array" ? "JSON array" : "JSON object");
  const range = limits(schema);
  const lengths = schema.maxLength ? `at most ${schema.maxLength} characters` : "";
  const fallback = "default" in schema && schema.default !== undefined ? `default ${stringify(schema.default)}` : "";
  return [schema.title && kind === "json" ? `${what}: ${schema.title}` : what, range, lengths, fallback].filter(Boolean).join(", ");
}

function limits({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }) {
  const least = minimum ?? (exclusiveMinimum === undefined ? undefined : `above ${exclusiveMinimum}`);
  const most = maximum ?? (exclusiveMaximum === undefined ? undefined : `below ${exclusiveMaximum}`);
  if (least !== undefined && most !== undefined) return `${least} to ${most}`;
  if (least !== undefined) return minimum === undefined ? least : `at least ${least}`;
  if (most !== undefined) return maximum === undefined ? most : `at most ${most}`;
  return "";
}

/**
 * Read what somebody typed.
 * @throws {Error} it does not fit; the message says what is allowed.
 */
export function read(text, taken, how = "auto") {
  const { kind, schema } = taken;
  if (kind === "string" || how === "text") return string(text, schema);
  if (kind === "integer") return within(match(text, INTEGER, "a whole number"), schema);
  if (kind === "number" || how === "number") return within(match(text, NUMBER, "a number"), schema);
  if (kind === "json" || how === "json") return json(text, schema);
  if (kind === "any" && how === "auto" && /^\s*[[{]/.test(text)) return json(text, schema);
  return NUMBER.test(text) ? number(text) : string(text, schema);
}

function string(text, { minLength = 0, maxLength = Infinity, pattern }) {
  const length = [...text].length;
  if (length < minLength || length > maxLength)
    throw new Error(`${length} characters; allowed: ${maxLength === Infinity ? `at least ${minLength}` : `${minLength} to ${maxLength}`}`);
  let expression = null;
  try {
    expression = pattern && new RegExp(pattern, "u");
  } catch {
    // a pattern that only Python reads: the server checks it
  }
  if (expression && !expression.test(text)) throw new Error(`It does not match ${pattern}`);
  return text;
}

function match(text, pattern, what) {
  const plain = text.trim();
  if (!pattern.test(plain)) throw new Error(`Not allowed here; allowed: ${what}`);
  return number(plain);
}

function within(value, schema) {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = schema;
  const bad =
    (minimum !== undefined && less(value, minimum)) ||
    (maximum !== undefined && less(maximum, value)) ||
    (exclusiveMinimum !== undefined && !less(exclusiveMinimum, value)) ||
    (exclusiveMaximum !== undefined && !less(value, exclusiveMaximum));
  if (bad) throw new Error(`Out of range; allowed: ${limits(schema)}`);
  return value;
}

/** Whether a number is less than another, exactly if both are whole. */
function less(one, other) {
  const [a, b] = [String(one), String(other)];
  return INTEGER.test(a) && INTEGER.test(b) ? BigInt(a) < BigInt(b) : Number(a) < Number(b);
}

function json(text, { type }) {
  let value;
  try {
    value = parse(text);
  } catch (error) {
    throw new Error(`Not JSON: ${error.message}`);
  }
  if (type === "array" && !Array.isArray(value)) throw new Error("Allowed: a JSON array, as in [1, 2]");
  if (type === "object" && !isObject(value)) throw new Error('Allowed: a JSON object, as in {"a": 1}');
  return value;
}

/** The text to type for a value, and how that is then read. */
export function typed(value, { kind }) {
  if (typeof value === "string") {
    const plain = kind === "string" || (!NUMBER.test(value) && !(kind === "any" && /^\s*[[{]/.test(value)));
    return kind === "json" ? [stringify(value), "json"] : [value, plain ? "auto" : "text"];
  }
  if (isNumber(value) || value instanceof Numeral) return [String(value), "auto"];
  return [stringify(value), "json"];
}
