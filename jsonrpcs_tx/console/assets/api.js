// Requests to the server, apart from the live events.

import { isObject, parse, stringify } from "./json.js";

/** The session has ended: a name and a password are needed. */
export class SignedOut extends Error {}

/** The server has refused a request that is not a call. */
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  const response = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
  if (response.status === 401) throw new SignedOut();
  return response;
}

/** The reason of a refusal: the text of an error in JSON, or the first characters of plain text. */
async function refusal(response) {
  const text = await response.text();
  try {
    const said = parse(text);
    const error = isObject(said.error) ? said.error.message : (said.error ?? said.message);
    if (typeof error === "string") return error;
  } catch {
    // it is not JSON
  }
  const plain = (response.headers.get("content-type") ?? "").startsWith("text/plain");
  return (plain && text.slice(0, 500).trim().replace(/^\d{3} [^:]*: /, "")) || `the server answered with status ${response.status}`;
}

async function read(path) {
  const response = await ask(path);
  if (!response.ok) throw new Refused(response.status, await refusal(response));
  return parse(await response.text());
}

/** Who is signed in, and what the server is. */
export const session = () => read("session");

/**
 * Sign in.
 * @throws {Refused} says what is wrong.
 */
export async function signIn(user, password) {
  const response = await ask("session", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ user, password }),
  });
  if (!response.ok) throw new Refused(response.status, await refusal(response));
}

/** End the session. */
export async function signOut() {
  await ask("session", { method: "DELETE", headers: { "Content-Type": "application/json" } });
}

/** The OpenRPC document of this server, or of a node. */
export const description = (node) => read(`openrpc.json${node ? `?node=${encodeURIComponent(node)}` : ""}`);

/** Some items of a table, and the place after which there are more. */
export const items = (query) => read(`table?${new URLSearchParams(query)}`);

let ids = 0;

/** The document of a call. */
export function request(method, params) {
  const given = params.length !== 0 && Object.keys(params).length > 0;
  return stringify({ jsonrpc: "2.0", method, ...(given ? { params } : {}), id: ++ids });
}

/**
 * Call a command.
 * @param {string} target the name of a node or a group, or `*`; empty: this server.
 * @returns {{result?, fault?: {code, message, data}, raw: string, ms: number, status: number}} the outcome.
 */
export async function call(target, method, params = []) {
  const started = performance.now();
  const response = await ask(target ? `RPC/${encodeURIComponent(target)}` : "RPC", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: request(method, params),
  });
  const raw = await response.text();
  const outcome = { raw, ms: performance.now() - started, status: response.status };
  let reply = null;
  let message = "The reply is not a JSON-RPC document";
  try {
    reply = parse(raw);
  } catch (error) {
    message += `: ${error.message}`;
  }
  if (isObject(reply) && "result" in reply) return { ...outcome, result: reply.result };
  if (isObject(reply) && isObject(reply.error)) return { ...outcome, fault: reply.error };
  return { ...outcome, fault: { code: response.status, message } };
}
