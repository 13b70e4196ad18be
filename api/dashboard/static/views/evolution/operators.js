// What each operator gains, how often its children are rejected, and what it costs.
import { html } from "../../ui.js";
import { hueOf } from "../../charts/colours.js";
import { Figure } from "../../charts/figure.js";
import { intervalScale } from "../../charts/interval.js";
import { IntervalTable } from "../../charts/interval-table.js";
import { Plot } from "../../charts/plot.js";
import { extent } from "../../charts/scales.js";
import { count, dollars, figure, inColumn, percent } from "../../parts/format.js";
import { Operator } from "../../parts/labels.js";

/**
 * @typedef {{operator: string, children: number, known: number, change: number | null, half: number | null,
 *   measured: number | null, asked: number, accepted: number, tokens: number, cost: number}} OperatorTotals
 */
/** @typedef {{iteration: number, name: string, data: any}} Row */
/**
 * @typedef {{n: number, measured: number | null, sum: number, squares: number, complete: boolean, children: number}}
 *   Sums
 */
/**
 * @typedef {{operator: string, iteration: number, change: number | null, low: number | null, high: number | null,
 *   children: number, asked: number, accepted: number, cost: number}} Gain
 */

const MOST_OPERATORS = 12;
const COLUMNS = [
  "Operator",
  "Change of info, child minus parent",
  "Mean",
  "Children in batches",
  "Requests",
  "Rejected",
  "Tokens",
  "Cost",
];

/**
 * Sums the requests to an operator over the stages of these iterations, with their tokens and costs.
 * @param {string} operator
 * @param {any[]} iterations
 */
export function spentOn(operator, iterations) {
  const counts = iterations
    .flatMap((iteration) => iteration.stages)
    .map((stage) => stage.counts.per_operator?.[operator] ?? {});
  const sum = (/** @type {string} */ key) =>
    counts.reduce((all, operatorCounts) => all + (operatorCounts[key] ?? 0), 0);
  return { asked: sum("asked"), accepted: sum("accepted"), tokens: sum("tokens"), cost: sum("cost_usd") };
}

/**
 * The standard error of an iteration's mean change. Runs of older versions stored the children's deviation instead.
 * @param {any} payoff
 * @returns {number | null}
 */
function errorOf(payoff) {
  if (payoff.deviation !== undefined) {
    return payoff.known > 1 && payoff.deviation !== null ? payoff.deviation / Math.sqrt(payoff.known) : null;
  }
  return payoff.error;
}

/**
 * What is said of the parents that the children are compared with: older versions took their measured info.
 * @param {any[]} payoffs
 */
function comparison(payoffs) {
  const parents = payoffs.flatMap((row) => row.data).map((payoff) => payoff.parents);
  const expected = "with what new responses to their parents would be expected to show";
  if (parents.every((definition) => definition === "shrunken")) return expected;
  const measured = `with their parents' measured informativeness, as older versions of eva did. Parents were sampled for
    a high measurement, so every operator seems to lose`;
  return parents.includes("shrunken") ? `${expected}; in some iterations ${measured}` : measured;
}

/**
 * Adds up all iterations: the mean over all children, with an error from those of the iterations.
 * @param {any[]} payoffs
 * @param {any[]} stages
 * @returns {OperatorTotals[]}
 */
function pooled(payoffs, stages) {
  const sums = /** @type {Map<string, Sums>} */ (new Map());
  for (const payoff of payoffs.flatMap((row) => row.data)) {
    const totals = sums.get(payoff.operator) ?? { n: 0, measured: 0, sum: 0, squares: 0, complete: true, children: 0 };
    totals.children += payoff.children;
    if (payoff.known) {
      const error = errorOf(payoff);
      totals.n += payoff.known;
      totals.sum += payoff.known * payoff.change;
      const measured = payoff.measured ?? null;
      totals.measured =
        measured === null || totals.measured === null ? null : totals.measured + payoff.known * measured;
      totals.squares += (payoff.known * (error ?? 0)) ** 2;
      totals.complete &&= error !== null;
    }
    sums.set(payoff.operator, totals);
  }
  return [...sums]
    .map(([operator, { n, measured, sum, squares, complete, children }]) => ({
      operator,
      children,
      known: n,
      change: n ? sum / n : null,
      measured: n && measured !== null ? measured / n : null,
      half: n && complete ? (1.96 * Math.sqrt(squares)) / n : null,
      ...spentOn(operator, stages),
    }))
    .sort((a, b) => (b.change ?? -Infinity) - (a.change ?? -Infinity));
}

/** @param {{run: string, payoffs: any[], stages: any[]}} props */
export function Payoff({ run, payoffs, stages }) {
  const rows = pooled(payoffs, stages);
  if (!rows.length) return null;
  const scale = intervalScale(
    rows.flatMap((row) =>
      row.change === null ? [] : [row.measured, row.change - (row.half ?? 0), row.change + (row.half ?? 0)],
    ),
    { zero: true },
  );
  const change = inColumn(rows.map((row) => row.change));
  const bounds = (/** @type {OperatorTotals} */ row) =>
    row.change === null || row.half === null ? [null, null] : [row.change - row.half, row.change + row.half];
  return html`
    <${Figure}
      title="Gain by operator"
      name=${`${run}-operators`}
      caption=${`How much more informative the children in the batch are than their parents: mean over all iterations,
        with its 95% interval. Children are compared ${comparison(payoffs)}.${
          rows.some((row) => row.measured !== null)
            ? ` So 0 is what regression to the mean alone would give. The tick is the change from the parents' measured
                informativeness, which their selection makes look worse.`
            : ""
        }`}
      numbers=${() => ({
        columns: [
          "operator",
          "change of info",
          "low (95%)",
          "high (95%)",
          "change from the measured info",
          "children in batches",
          "requests",
          "accepted",
          "tokens",
          "cost (US dollars)",
        ],
        rows: rows.map((row) => [
          row.operator,
          row.change,
          ...bounds(row),
          row.measured,
          row.children,
          row.asked,
          row.accepted,
          row.tokens,
          row.cost,
        ]),
      })}
    >
      <${IntervalTable}
        label="Operators"
        columns=${COLUMNS}
        scale=${scale}
        rows=${rows.map((row) => ({
          key: row.operator,
          name: html`<${Operator} name=${row.operator} />`,
          value: row.change,
          low: bounds(row)[0],
          high: bounds(row)[1],
          tick: row.measured,
          words: `${figure(row.change)}, interval ${bounds(row).map(figure).join(" to ")}`,
          cells: [
            `${row.change !== null && row.change > 0 ? "+" : ""}${change(row.change)}`,
            count(row.children),
            count(row.asked),
            percent(row.asked ? 1 - row.accepted / row.asked : null),
            count(row.tokens),
            row.cost ? dollars(row.cost) : "–",
          ],
        }))}
      />
    <//>
  `;
}

/**
 * The 95% interval of an iteration's mean change.
 * @param {any} payoff
 */
function bounds(payoff) {
  if (payoff.low !== undefined) return { low: payoff.low, high: payoff.high };
  const error = errorOf(payoff);
  return error === null
    ? { low: null, high: null }
    : { low: payoff.change - 1.96 * error, high: payoff.change + 1.96 * error };
}

/** @param {Row[]} payoffs @param {any[]} stages @returns {Gain[]} */
function gains(payoffs, stages) {
  return payoffs.flatMap((row) =>
    row.data.map((/** @type {any} */ payoff) => ({
      operator: payoff.operator,
      iteration: row.iteration,
      children: payoff.children,
      change: payoff.known ? payoff.change : null,
      ...bounds(payoff),
      ...spentOn(
        payoff.operator,
        stages.filter((each) => each.number === row.iteration),
      ),
    })),
  );
}

/**
 * Draws a small chart for each operator, all on one scale.
 * @param {{run: string, payoffs: Row[], stages: any[]}} props
 */
export function Gains({ run, payoffs, stages }) {
  const allGains = gains(payoffs, stages);
  const names = [...new Set(allGains.map((gain) => gain.operator))].sort();
  const low = (/** @type {Gain} */ gain) => gain.low ?? gain.change;
  const high = (/** @type {Gain} */ gain) => gain.high ?? gain.change;
  const domain = extent(
    allGains.flatMap((gain) => [low(gain), high(gain)]),
    { zero: true },
  );
  if (payoffs.length < 2) return null;
  return html`
    <${Figure}
      title="Gain by operator and iteration"
      name=${`${run}-operators-by-iteration`}
      caption="The same change of informativeness per iteration, with its 95% interval, all on one scale. An operator
        whose curve falls has little left to add."
      numbers=${() => ({
        columns: [
          "operator",
          "iteration",
          "change of info",
          "low (95%)",
          "high (95%)",
          "children in batches",
          "requests",
          "rejected (share)",
          "cost (US dollars)",
        ],
        rows: allGains.map((gain) => [
          gain.operator,
          gain.iteration,
          gain.change,
          low(gain),
          high(gain),
          gain.children,
          gain.asked,
          gain.asked ? 1 - gain.accepted / gain.asked : null,
          gain.cost,
        ]),
      })}
    >
      ${
        names.length > MOST_OPERATORS &&
        html`
          <p class="soft small">
            These are the first ${MOST_OPERATORS} of ${names.length} operators. “Numbers” has all of them.
          </p>
        `
      }
      <div class="small-multiples">
        ${names.slice(0, MOST_OPERATORS).map(
          (name) => html`
            <${Plot}
              key=${name}
              height=${170}
              label=${`Change of info by ${name}, by iteration`}
              xLabel="iteration"
              yLabel="change of info"
              yDomain=${domain}
              series=${[
                {
                  name,
                  hue: hueOf(name),
                  points: allGains
                    .filter((gain) => gain.operator === name)
                    .map((gain) => ({ x: gain.iteration, y: gain.change, lo: low(gain), hi: high(gain) })),
                },
              ]}
            />
          `,
        )}
      </div>
    <//>
  `;
}
