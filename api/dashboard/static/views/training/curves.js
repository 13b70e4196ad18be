// What a chart of a training draws: the curves of its metrics, smoothed, one training after the other or overlaid, and
// only a range of steps.

/** @typedef {import("../../data/schema.d.ts").Series} Series */
/** @typedef {[number, number]} Range the first and the last step */
/** @typedef {{x: number, y: number | null}} Point */
/** @typedef {{series: Series, title: string, hue: string}} Metric */

const MOST_MARKS = 12;
const HUES = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c8", "--c7"];

/**
 * The curves of a chart.
 * @param {Metric[]} metrics
 * @param {number} kept how much of the earlier steps a smoothed value keeps; 0: none is smoothed
 * @param {boolean} overlaid
 * @param {Range | null} range the steps to draw; null: all
 * @returns {import("../../charts/plot.js").Series[]}
 */
export function curvesOf(metrics, kept, overlaid, range) {
  const part = (/** @type {Point[]} */ points) =>
    range ? points.filter((point) => point.x >= range[0] && point.x <= range[1]) : points;
  const lines = overlaid
    ? metrics.flatMap(byPolicy)
    : metrics.map(({ series, ...line }) => ({ ...line, points: withGaps(series) }));
  return lines.flatMap((line) =>
    kept
      ? [
          { ...line, name: `${line.title} as logged`, points: part(line.points), faint: true },
          { ...line, name: line.title, points: part(smoothed(line.points, kept)) },
        ]
      : [{ ...line, name: line.title, points: part(line.points) }],
  );
}

/**
 * A curve for each of the newest trainings; of a chart's second metric, a dashed one.
 * @param {Metric} metric @param {number} place
 */
function byPolicy({ series, title }, place) {
  const policies = [...new Set(series.checkpoints)].slice(-HUES.length);
  return policies.map((policy, n) => ({
    title: `policy ${policy}${place ? `, ${title}` : ""}`,
    hue: HUES[n],
    dashed: place > 0,
    points: series.values.flatMap((y, k) => (series.checkpoints[k] === policy ? [{ x: series.steps[k], y }] : [])),
  }));
}

/** The first and the last step of some metrics. @param {Series[]} items @param {boolean} overlaid @returns {Range} */
export function domainOf(items, overlaid) {
  const places = items.flatMap((series) => (overlaid ? series.steps : series.places));
  return places.length ? [places.reduce((a, b) => Math.min(a, b)), places.reduce((a, b) => Math.max(a, b))] : [0, 1];
}

/** A range of another width around the same middle. @param {Range} range @param {number} factor @returns {Range} */
export function zoomedTo([from, to], factor) {
  const [middle, half] = [(from + to) / 2, ((to - from) / 2) * factor];
  return nearest([Math.max(0, middle - half), middle + half]);
}

/** A range of whole steps, at least two. @param {Range} range @returns {Range} */
export function nearest([from, to]) {
  const first = Math.max(0, Math.round(from));
  return [first, Math.max(first + 1, Math.round(to))];
}

/** Where each training starts; a mark for every so many of them if there are many. @param {Series} series */
export function beginnings(series) {
  const starts = series.places.flatMap((place, n) =>
    n === 0 || series.checkpoints[n] !== series.checkpoints[n - 1] ? [{ x: place, policy: series.checkpoints[n] }] : [],
  );
  const every = Math.ceil(starts.length / MOST_MARKS);
  return starts
    .filter((_, n) => n % every === 0)
    .map(({ x, policy }, n) => ({ x, label: n ? String(policy) : `policy ${policy}` }));
}

/**
 * An exponential mean of the values so far, of each training on its own.
 * @param {Point[]} points
 * @param {number} kept
 */
function smoothed(points, kept) {
  let [sum, weight] = [0, 0];
  return points.map(({ x, y }) => {
    if (y === null) [sum, weight] = [0, 0];
    else [sum, weight] = [kept * sum + (1 - kept) * y, kept * weight + (1 - kept)];
    return { x, y: y === null ? null : sum / weight };
  });
}

/** The points of a curve, with a gap between trainings. @param {Series} series */
function withGaps(series) {
  const points = /** @type {Point[]} */ ([]);
  series.values.forEach((value, n) => {
    if (n && series.checkpoints[n] !== series.checkpoints[n - 1]) points.push({ x: series.places[n] - 0.5, y: null });
    points.push({ x: series.places[n], y: value });
  });
  return points;
}
