// Times, as people read them, in their own time zone.

const two = (number) => String(number).padStart(2, "0");

/** Of a day: 18:04:05. */
export const clock = (date) => [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");

/** With the day: 2026-02-03 18:04:05. */
export const moment = (date) => `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${clock(date)}`;

/** Seconds in the two largest units: 2 d 4 h. */
export function span(seconds) {
  if (seconds === null || seconds === undefined) return "";
  let left = Math.floor(Number(seconds));
  const parts = [];
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    if (left >= length || (unit === "s" && parts.length === 0)) parts.push(`${Math.floor(left / length)} ${unit}`);
    left %= length;
  }
  return parts.slice(0, 2).join(" ");
}

/** The time that a call took, given in milliseconds. */
export const duration = (ms) => (ms < 10 ? `${ms.toFixed(1)} ms` : ms < 10000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);
