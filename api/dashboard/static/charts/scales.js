// Linear scales and the tick marks of their axes.

/** @typedef {(value: number) => number} Scale */

/** @param {[number, number]} domain @param {[number, number]} range @returns {Scale} */
export function linear([from, to], [low, high]) {
  const span = to - from || 1;
  return (value) => low + ((value - from) / span) * (high - low);
}

/**
 * Chooses round numbers in a domain to mark, about as many as asked for.
 * @param {[number, number]} domain
 * @param {number} about
 * @param {boolean} [whole]
 */
export function ticks([from, to], about, whole = false) {
  const span = to - from;
  if (!(span > 0)) return [from];
  const rough = span / Math.max(1, about);
  const power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.999) ?? rough;
  if (whole) step = Math.max(1, Math.round(step));
  const marks = [];
  for (let n = Math.ceil(from / step - 1e-9); n * step <= to + step * 1e-9; n += 1)
    marks.push(Number((n * step).toPrecision(12)));
  return marks;
}

/** Formats a tick mark with as many decimals as its neighbours need. @param {number} mark @param {number[]} marks */
export function markText(mark, marks) {
  const step = marks.length > 1 ? Math.abs(marks[1] - marks[0]) : Math.abs(mark) || 1;
  if (Math.abs(mark) >= 10_000) return new Intl.NumberFormat("en", { notation: "compact" }).format(mark);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return (digits <= 3 ? mark.toFixed(digits) : mark === 0 ? "0" : mark.toExponential(1).replace(".0e", "e")).replaceAll(
    "-",
    "−",
  );
}

/**
 * The smallest and the largest of some numbers, widened to round ones.
 * @param {(number | null | undefined)[]} values
 * @param {{zero?: boolean}} [how]
 * @returns {[number, number]}
 */
export function extent(values, how = {}) {
  const known = /** @type {number[]} */ (values.filter((value) => Number.isFinite(value)));
  if (!known.length) return [0, 1];
  let low = known.reduce((a, b) => Math.min(a, b));
  let high = known.reduce((a, b) => Math.max(a, b));
  if (how.zero) {
    low = Math.min(0, low);
    high = Math.max(0, high);
  }
  if (low === high) {
    low -= Math.abs(low) / 10 || 0.5;
    high += Math.abs(high) / 10 || 0.5;
  }
  const marks = ticks([low, high], 4);
  const step = marks.length > 1 ? marks[1] - marks[0] : (high - low) / 4;
  return [Math.floor(low / step + 1e-9) * step, Math.ceil(high / step - 1e-9) * step];
}

/**
 * Makes an SVG path through points, with a gap where a value is missing.
 * @param {({x: number, y: number} | null)[]} points
 */
export function pathOf(points) {
  let text = "";
  let pen = "M";
  for (const point of points) {
    if (point === null) {
      pen = "M";
      continue;
    }
    text += `${pen}${point.x.toFixed(1)} ${point.y.toFixed(1)}`;
    pen = "L";
  }
  return text;
}
