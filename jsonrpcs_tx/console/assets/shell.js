// Calls as command lines for sh.

import { isNumber, stringify } from "./json.js";
import { request } from "./api.js";

const PLAIN = /^[\w@%+=:,./-]+$/;

/** A word as sh reads it. */
const quote = (word) => (PLAIN.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

const MAYBE_OTHER = /^(?:-.*|(?:s|i|f|json):.*|true|false|null|[\d.[{].*|)$/s;

/** A parameter as a word of `jsonrpcs`. */
function word(value) {
  if (typeof value === "string") return MAYBE_OTHER.test(value) ? `s:${value}` : value;
  if (isNumber(value)) return `${/^-?\d+$/.test(String(value)) ? "i" : "f"}:${value}`;
  return `json:${stringify(value)}`;
}

/** The command line that makes a call with curl, which asks for the password. */
export function curl(url, user, method, params) {
  const who = user ? ["-u", quote(user)] : [];
  return ["curl", ...who, "--json", quote(request(method, params)), quote(url)].join(" ");
}

/** The command line that makes it with `jsonrpcs`. */
export function jsonrpcs(url, user, method, params) {
  const who = user ? ["--user", quote(user)] : [];
  const given = Array.isArray(params) ? params.map(word) : ["--params", stringify(params)];
  const name = /^[\w]+\.[\w.]+$/.test(method) ? [method] : ["call", quote(method)];
  return ["jsonrpcs", "--to", quote(url), ...who, ...name, ...given.map(quote)].join(" ");
}
