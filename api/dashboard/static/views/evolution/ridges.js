// Ridgeline chart: one small histogram per iteration, of the sampled prompts in front of the rest.
import { html } from "../../ui.js";
import { Legend, useWidth } from "../../charts/plot.js";
import { extent, linear, markText, ticks } from "../../charts/scales.js";

/** @typedef {import("./evolution.js").Histogram} Histogram */

const [LEFT, RIGHT, TOP, BOTTOM, MOST] = [42, 12, 30, 40, 14];
/** The height of a row: the fewer rows, the taller. @param {number} rows */
const rowHeight = (rows) => Math.max(30, Math.min(64, 260 / rows));

/**
 * `common`: all rows are drawn on one scale; otherwise each is as tall as its own peak.
 * @param {{rows: {iteration: number, histogram: Histogram}[], label: string, xLabel: string, common: boolean}} props
 */
export function Ridges({ rows, label, xLabel, common }) {
  const [box, width] = useWidth();
  const shown = thinned(rows);
  const domain = extent(shown.flatMap((row) => [row.histogram.low, row.histogram.high]));
  const row = rowHeight(shown.length);
  const height = TOP + (shown.length + 0.25) * row + BOTTOM;
  const x = linear(domain, [LEFT, width - RIGHT]);
  const marks = ticks(domain, width / 90);
  const shapes = shown.map(({ iteration, histogram }) => ({ iteration, histogram, ...densities(histogram) }));
  const tallest = Math.max(...shapes.map((shape) => shape.peak));
  return html`
    <div class="chart" ref=${box}>
      <svg height=${height} viewBox=${`0 0 ${width} ${height}`} role="img" aria-label=${label}>
        <text class="axis-name" x="0" y="11">iteration</text>
        ${marks.map(
          (mark) => html`
            <g key=${mark}>
              <line class="grid" x1=${x(mark)} x2=${x(mark)} y1=${TOP - 8} y2=${height - BOTTOM} />
              <text x=${x(mark)} y=${height - BOTTOM + 16} text-anchor="middle">${markText(mark, marks)}</text>
            </g>
          `,
        )}
        <text class="axis-name" x=${(LEFT + width - RIGHT) / 2} y=${height - 6} text-anchor="middle">${xLabel}</text>
        ${shapes.map(
          (shape, n) => html`
            <${Ridge}
              key=${shape.iteration}
              shape=${shape}
              tall=${row}
              most=${common ? tallest : shape.peak}
              base=${TOP + (n + 1.25) * row}
              x=${x}
            />
          `,
        )}
      </svg>
      <${Legend} series=${[
        { name: "sampled", hue: "--c2" },
        { name: "not sampled", hue: "--c1" },
      ]} />
    </div>
  `;
}

/** Keeps at most MOST rows, the first and the last among them. @template T @param {T[]} rows @returns {T[]} */
const thinned = (rows) =>
  rows.length <= MOST
    ? rows
    : Array.from({ length: MOST }, (_, n) => rows[Math.round((n * (rows.length - 1)) / (MOST - 1))]);

/** @typedef {{iteration: number, histogram: Histogram, rest: number[], sampled: number[], peak: number}} Shape */

/**
 * Both histograms as densities, so that they have the same area: their sizes differ, and it is their shapes that are
 * compared.
 * @param {Histogram} histogram
 */
function densities({ low, high, sampled, rest }) {
  const density = (/** @type {number[]} */ counts) => {
    const area = (counts.reduce((a, b) => a + b, 0) * (high - low || 1)) / counts.length;
    return smooth(counts.map((count) => (area ? count / area : 0)));
  };
  const both = { rest: density(rest), sampled: density(sampled) };
  return { ...both, peak: Math.max(...both.rest, ...both.sampled, 1e-9) };
}

/** @param {{shape: Shape, base: number, tall: number, most: number, x: (v: number) => number}} props */
function Ridge({ shape, base, tall, most, x }) {
  const { low, high } = shape.histogram;
  const across = (/** @type {number} */ n, /** @type {number} */ bins) =>
    x(low + ((n + 0.5) * (high - low)) / bins).toFixed(1);
  const height = (/** @type {number} */ share) => (base - (share / most) * tall * 1.25).toFixed(1);
  const path = (/** @type {number[]} */ binShares) =>
    [
      `M${x(low)} ${base}`,
      ...binShares.map((share, n) => `L${across(n, binShares.length)} ${height(share)}`),
      `L${x(high)} ${base}Z`,
    ].join("");
  return html`
    <g>
      <line class="axis" x1=${LEFT} x2=${x(high)} y1=${base} y2=${base} />
      <text x=${LEFT - 8} y=${base} dy="-.1em" text-anchor="end">${shape.iteration}</text>
      <path class="ridge rest" style=${{ fill: "var(--c1)", stroke: "var(--c1)" }} d=${path(shape.rest)} />
      <path class="ridge sampled" style=${{ fill: "var(--c2)", stroke: "var(--c2)" }} d=${path(shape.sampled)} />
    </g>
  `;
}

/** Blends each bin a little with its neighbours. @param {number[]} values */
const smooth = (values) =>
  values.map((value, n) => 0.5 * value + 0.25 * (values[n - 1] ?? value) + 0.25 * (values[n + 1] ?? value));
