// How a server lists the values that a parameter may have: its tables, sets, groups and so on.

import { isObject } from "./json.js";

const list = (result) => (Array.isArray(result) ? result : []);
const sets = (result) => list(result?.RECORDS).map((one) => one?.SET ?? {});
const lines = (result) => list(result).map((line) => String(line).split(": "));

/** The names anywhere in the result of pv.shvGet. */
function names(result) {
  if (Array.isArray(result)) return result.flatMap(names);
  if (!isObject(result)) return [];
  return [...("name" in result ? [result.name] : []), ...Object.values(result).flatMap(names)];
}

/** By the source: the command and its parameters, the source of an earlier parameter that limits the values, and a
 * function that reads the result. */
const SOURCES = {
  method: { method: "system.listMethods", read: list },
  module: { method: "core.modules", read: list },
  table: { method: "htable.listTables", read: (result) => list(result).map((one) => one?.name) },
  set: { method: "dispatcher.list", read: (result) => sets(result).map((one) => one.ID) },
  destination: {
    method: "dispatcher.list",
    within: "set",
    read: (result, within) =>
      sets(result)
        .filter((one) => !within || String(one.ID) === within)
        .flatMap((one) => list(one.TARGETS).map((target) => target?.DEST?.URI)),
  },
  "cfg-group": { method: "cfg.list", read: (result) => lines(result).map(([group]) => group) },
  "cfg-variable": {
    method: "cfg.list",
    within: "cfg-group",
    read: (result, within) =>
      lines(result)
        .filter(([group]) => !within || group === within)
        .map(([, name]) => name),
  },
  "cnt-group": { method: "cnt.grps_list", read: list },
  "cnt-variable": { method: "cnt.var_list", within: "cnt-group", asks: true, read: list },
  statistic: { method: "stats.fetch", params: ["all"], read: (result) => ["all", ...Object.keys(result ?? {})] },
  shv: { method: "pv.shvGet", read: names },
};

const MOST = 1000;

/**
 * The values that a server suggests for a parameter.
 * @param {string} source that the description of the parameter names.
 * @param {object} before the texts of the earlier parameters, by their sources.
 * @param {function(string, Array)} call takes a method and its parameters, returns a promise of the outcome; null: it
 *   may not be called.
 * @returns {Promise<Array<string>>}
 */
export async function suggestions(source, before, call) {
  const known = SOURCES[source];
  const within = before[known?.within] ?? "";
  if (!known || (known.asks && !within)) return [];
  const outcome = await call(known.method, known.asks ? [within] : (known.params ?? []));
  if (!outcome || !("result" in outcome)) return [];
  const texts = known.read(outcome.result, within).filter((value) => ["string", "number"].includes(typeof value));
  return [...new Set(texts.map(String))].slice(0, MOST);
}
