// The forest plot: a row for each comparison, with its interval and a dot for each pair of runs.
import { html } from "../../ui.js";
import { Figure } from "../../charts/figure.js";
import { Interval, IntervalAxis, intervalScale } from "../../charts/interval.js";
import { comparePath, go } from "../../router.js";
import { difference, outcome } from "./values.js";

/** @typedef {import("../../data/schema.d.ts").StudyReport} StudyReport */
/** @typedef {import("../../data/schema.d.ts").StudyComparison} StudyComparison */
/** @typedef {import("../../data/schema.d.ts").StudyInterval} StudyInterval */
/** @typedef {import("../../charts/interval.js").IntervalScale} IntervalScale */

const VERDICTS = /** @type {Record<string, string>} */ ({
  better: "finished",
  worse: "failed",
  equivalent: "finished",
  unresolved: "paused",
});

/** @param {number | null | undefined} p */
const pText = (p) => (p === null || p === undefined ? "–" : p < 0.001 ? "< 0.001" : p.toFixed(3));

/** @param {StudyInterval} interval */
const ends = ({ low, high }) => (low === null ? "" : `${difference(low)} to ${difference(high)}`);

/** @param {{report: StudyReport}} props */
export function Comparisons({ report }) {
  const { comparisons } = report;
  if (!comparisons.length) return null;
  const margin = report.outcome.equivalent_within ?? 0;
  const scale = intervalScale(
    [
      -margin,
      margin,
      ...comparisons.flatMap((each) => [
        each.difference.low,
        each.difference.high,
        ...each.pairs.map((pair) => pair.difference),
      ]),
    ],
    { zero: true },
  );
  return html`
    <${Figure}
      title="Paired differences"
      name=${`${report.name}-comparisons`}
      caption="First arm minus second, in pairs of runs with the same seed and given model. The bar is the 95% interval
        over seeds and held-out prompts; each dot is a pair, and opens its two runs."
      numbers=${() => ({
        columns: [
          "comparison",
          "difference",
          "low (95%)",
          "high (95%)",
          "p (sign flips)",
          "p (Holm)",
          "detectable with power 0.8",
          "pairs",
          "seeds",
          "held-out prompts",
          "verdict",
        ],
        rows: comparisons.map((each) => [
          `${each.first} − ${each.second}`,
          each.difference.value,
          each.difference.low,
          each.difference.high,
          each.p,
          each.p_adjusted,
          each.detectable,
          each.difference.runs,
          each.difference.seeds,
          each.difference.prompts,
          each.repeats ? "A/A" : each.verdict,
        ]),
      })}
    >
      <div class="scroll" tabindex="0" role="region" aria-label="Comparisons">
        <table class="data payoff">
          <thead>
            <tr>
              <th scope="col">Arms</th>
              <th scope="col">Difference</th>
              <th scope="col" class="number">Mean (95%)</th>
              <th scope="col" class="number">p</th>
              <th scope="col" class="number">p (Holm)</th>
              <th scope="col" class="number">Detectable</th>
              <th scope="col">Verdict</th>
            </tr>
          </thead>
          <tbody>
            ${comparisons.map(
              (each) => html`
                <${Row} key=${`${each.first} ${each.second}`} comparison=${each} scale=${scale} margin=${margin} />
              `,
            )}
          </tbody>
          <${IntervalAxis} scale=${scale} />
        </table>
      </div>
      <${Remarks} comparisons=${comparisons} />
      <p class="soft small">
        p: sign flips over seeds; it speaks of these held-out prompts only. Detectable: the smallest true difference
        that so many seeds and prompts show with a power of 0.8.
      </p>
    <//>
  `;
}

/** @param {{comparison: StudyComparison, scale: IntervalScale, margin: number}} props */
function Row({ comparison, scale, margin }) {
  const { first, second, difference: found, verdict } = comparison;
  const name = `${first} − ${second}`;
  return html`
    <tr>
      <td class="arms">
        ${name}${comparison.repeats && html`<div class="small soft">A/A: the same arm, other draws</div>`}
      </td>
      <td>
        <${Interval}
          scale=${scale}
          value=${found.value}
          low=${found.low}
          high=${found.high}
          margin=${margin}
          label=${`${name}: ${difference(found.value)}${found.low === null ? "" : `, interval ${ends(found)}`}`}
          dots=${comparison.pairs.map((pair) => ({
            name: `${pair.seed} ${pair.model}`,
            value: pair.difference,
            title: `seed ${pair.seed}, ${pair.model}: ${difference(pair.difference)}`,
            open: () => go(comparePath([pair.second, pair.first])),
          }))}
        />
      </td>
      <td class="number">
        ${difference(found.value)}<div class="small soft nowrap">${ends(found)}</div>
      </td>
      <td class="number">${pText(comparison.p)}</td>
      <td class="number">${pText(comparison.p_adjusted)}</td>
      <td class="number">${outcome(comparison.detectable)}</td>
      <td>
        ${
          comparison.repeats
            ? html`<span class="soft">–</span>`
            : html`<span class=${`status ${VERDICTS[verdict ?? ""] ?? ""}`}>${verdict ?? "one seed"}</span>`
        }
      </td>
    </tr>
  `;
}

/**
 * What remains unequal, and how the difference varies between given models.
 * @param {{comparisons: StudyComparison[]}} props
 */
function Remarks({ comparisons }) {
  const amount = (/** @type {number} */ value) =>
    value.toLocaleString("en-GB", { maximumFractionDigits: value >= 100 ? 0 : 2 });
  const remarks = comparisons.flatMap(({ first, second, unequal, models, difference: found }) => {
    const name = `${first} − ${second}`;
    return [
      unequal.length > 0 &&
        `${name}: unequal in ${unequal
          .map((cost) => `${cost.quantity} (${amount(cost.first)} against ${amount(cost.second)})`)
          .join(", ")}.`,
      models.length > 0 &&
        `${name}: by given model ${models
          .map((each) => `${each.model} ${difference(each.difference.value)}`)
          .join(", ")}.`,
      found.left_out > 0 && `${name}: ${found.left_out} held-out prompts lack a value in some run and are left out.`,
    ].filter(Boolean);
  });
  return (
    remarks.length > 0 &&
    html`<ul class="remarks soft small">${remarks.map((remark, n) => html`<li key=${n}>${remark}</li>`)}</ul>`
  );
}

/** @param {{report: StudyReport}} props */
export const Exploratory = ({ report: { exploratory } }) =>
  exploratory.length > 0 &&
  html`
    <details class="card">
      <summary>Exploratory: figures that were not named beforehand</summary>
      <p class="soft small">With so many figures some differ by chance. Take them as questions for another study.</p>
      <div class="scroll" tabindex="0" role="region" aria-label="Exploratory comparisons">
        <table class="data">
          <thead>
            <tr>
              <th scope="col">Figure</th>
              <th scope="col">Arms</th>
              <th scope="col" class="number">Difference</th>
              <th scope="col" class="number">95%</th>
              <th scope="col" class="number">p</th>
            </tr>
          </thead>
          <tbody>
            ${exploratory.map(
              (each) => html`
                <tr key=${`${each.figure} ${each.first} ${each.second}`}>
                  <td><code>${each.figure}</code></td>
                  <td>${each.first} − ${each.second}</td>
                  <td class="number">${difference(each.difference.value)}</td>
                  <td class="number nowrap">${ends(each.difference)}</td>
                  <td class="number">${pText(each.p)}</td>
                </tr>
              `,
            )}
          </tbody>
        </table>
      </div>
    </details>
  `;
