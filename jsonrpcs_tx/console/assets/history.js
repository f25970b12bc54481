// The calls of this browser session, without secrets.

import { isObject, parse, stringify } from "./json.js";

const KEY = "jsonrpcs history";
const MOST = 100;
const HIDDEN = "(hidden)";
const SURE = /passw(or)?d|passphrase|secret|token|credential|api_?key|private_?key/i;
const WORDS = new Set(["auth", "authorization", "cookie", "key", "keys", "otp", "pass", "passcode", "pin", "pwd"]);
const LOOKED_UP = new Set(["dlg", "dlgs", "htable"]);

const sure = (text) => text.length <= 64 && SURE.test(text);

/** Whether a name says that what it names is secret: `db_password`, `apiKey`. */
const isSecretName = (name) =>
  name.length > 64 || SURE.test(name) || (name.match(/[A-Z]?[a-z]+|[A-Z]+/g) ?? []).some((one) => WORDS.has(one.toLowerCase()));

/** Whether a parameter is secret, by what the server says of it, or by its name. */
export const isSecret = (method, parameter) =>
  parameter["x-secret"] === true ||
  (isSecretName(parameter.name) && !(parameter.name === "key" && LOOKED_UP.has(method.split(".")[0])));

/** The parameters of a call without secrets: by the description, by names, and what follows the name of one. */
export function withoutSecrets(method, params) {
  const described = method.params ?? [];
  if (isObject(params)) return members(params, (name) => described.some((one) => one.name === name && isSecret(method.name, one)));
  let follows = false;
  return params.map((value, place) => {
    const parameter = described[Math.min(place, described.length - 1)];
    const known = parameter && (place < described.length || parameter["x-variadic"]);
    const hidden = follows || (known && isSecret(method.name, parameter));
    if (typeof value === "string") follows ||= sure(value);
    return hidden ? HIDDEN : inside(value);
  });
}

const members = (object, also = () => false) =>
  Object.fromEntries(
    Object.entries(object).map(([name, value]) => [name, isSecretName(name) || also(name) ? HIDDEN : inside(value)]),
  );

function inside(value) {
  if (Array.isArray(value)) return value.map(inside);
  return isObject(value) ? members(value) : value;
}

export const hidden = (value) => value === HIDDEN;

/** The calls, the newest first: `{time, target, method, params, code, ms}`. */
export function calls() {
  try {
    return parse(sessionStorage.getItem(KEY) ?? "[]");
  } catch {
    return [];
  }
}

/** Add a call. */
export function remember(entry) {
  try {
    sessionStorage.setItem(KEY, stringify([entry, ...calls()].slice(0, MOST)));
  } catch {
    forget(); // there is no room for so much
  }
}

/** Remove all calls. */
export const forget = () => sessionStorage.removeItem(KEY);
