// Formats numbers, durations and dates for people, with the same precision for the same kind of thing everywhere.

const whole = new Intl.NumberFormat("en-GB");

/** @param {number | null | undefined} value */
const isMissing = (value) => value === null || value === undefined || Number.isNaN(value);

/** A count: 1,234. @param {number | null | undefined} value */
export const count = (value) => (isMissing(value) ? "–" : whole.format(Math.round(Number(value))));

/**
 * A reward or informativeness: two decimals, fewer for large numbers, two significant digits for small ones.
 * @param {number | null | undefined} value
 */
export function figure(value) {
  if (isMissing(value)) return "–";
  const size = Math.abs(Number(value));
  if (size >= 1000) return count(value);
  if (size >= 100) return Number(value).toFixed(0);
  if (size >= 10) return Number(value).toFixed(1);
  if (size >= 0.01 || size === 0) return signed(Number(value).toFixed(2));
  return signed(Number(value).toPrecision(2));
}

/**
 * Formats the figures of a column alike: with as many decimals as show two digits of the typical one.
 * @param {(number | null | undefined)[]} values
 * @returns {(value: number | null | undefined) => string}
 */
export function inColumn(values) {
  const sizes = values.flatMap((value) => (isMissing(value) || !value ? [] : [Math.abs(value)])).sort((a, b) => a - b);
  const typical = sizes[sizes.length >> 1] ?? 1;
  const digits = Math.min(6, Math.max(0, 1 - Math.floor(Math.log10(typical))));
  return (value) => (isMissing(value) ? "–" : signed(Number(value).toFixed(digits)));
}

/** @param {string} text */
const signed = (text) => (text.startsWith("-") ? (Number(text) === 0 ? text.slice(1) : `−${text.slice(1)}`) : text);

/** A share as a percentage. @param {number | null | undefined} value @param {number} [digits] */
export const percent = (value, digits = 0) => (isMissing(value) ? "–" : `${(100 * Number(value)).toFixed(digits)}%`);

/** An amount of money: $0.0042, $1.30. @param {number | null | undefined} usd */
export const dollars = (usd) =>
  isMissing(usd) ? "–" : `$${usd && Math.abs(usd) < 0.1 ? Number(usd).toPrecision(2) : Number(usd).toFixed(2)}`;

/** A size: 812 B, 3.2 MB. @param {number | null | undefined} size */
export function bytes(size) {
  if (isMissing(size)) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let [value, unit] = [Number(size), 0];
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit && value < 99.5 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** Seconds: 0.4 s, 12 s, 3:11 min, 2:05 h. @param {number | null | undefined} seconds */
export function duration(seconds) {
  if (isMissing(seconds)) return "–";
  const s = Number(seconds);
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.round(s)} s`;
  const total = Math.round(s);
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  if (total < 3600) return `${Math.floor(total / 60)}:${two(total % 60)} min`;
  if (total < 86400) return `${Math.floor(total / 3600)}:${two(Math.floor(total / 60) % 60)} h`;
  return `${(total / 86400).toFixed(1)} days`;
}

/** A length of time as people say it: 40 s, 12 min, 2.6 h, 3.1 days. @param {number} seconds */
export function span(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86_400).toFixed(1)} days`;
}

/** A date and time, in the reader's own time zone. @param {string | null | undefined} iso */
export const moment = (iso) =>
  iso ? new Date(iso).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }) : "–";

/** A date and time with its seconds. @param {string} iso */
export const momentInSeconds = (iso) =>
  new Date(iso).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/** How long ago. @param {string} iso */
export function ago(iso) {
  const s = Math.max(0, (Date.now() - Date.parse(iso)) / 1000);
  if (s < 60) return "just now";
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86400)} d ago`;
}

/** How long until then. @param {string} iso */
export function until(iso) {
  const s = (Date.parse(iso) - Date.now()) / 1000;
  return s < 1 ? "now" : `in ${span(s)}`;
}

/** The iteration that a prompt was made in, in words. @param {number} born */
export const bornIn = (born) => (born < 0 ? "seed" : `iteration ${born}`);

/** A stage's name in words. @param {string} name */
export const stageName = (name) => name.replaceAll("_", " ");
