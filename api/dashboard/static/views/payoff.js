// Operators: what each gains, how often it is refused, what it costs.
import { html } from "../ui.js";
import { Figure } from "../figure.js";
import { count, figure, percent } from "../format.js";
import { Operator } from "../pieces.js";
import { extent, linear, markText, ticks } from "../scales.js";

/**
 * @typedef {{operator: string, children: number, known: number, change: number | null, half: number | null,
 *   asked: number, accepted: number, tokens: number, cost: number}} Paid
 */

const [WIDTH, ROW] = [300, 24];

/**
 * What the stages of these iterations asked of an operator, and what for.
 * @param {string} operator
 * @param {any[]} iterations
 */
export function spentOn(operator, iterations) {
  const counts = iterations.flatMap((one) => one.stages).map((stage) => stage.counts.per_operator?.[operator] ?? {});
  const sum = (/** @type {string} */ key) => counts.reduce((all, of) => all + (of[key] ?? 0), 0);
  return { asked: sum("asked"), accepted: sum("accepted"), tokens: sum("tokens"), cost: sum("cost_usd") };
}

/**
 * Counts of all iterations together; mean and deviation are pooled.
 * @param {any[]} paid
 * @param {any[]} stages
 * @returns {Paid[]}
 */
function pooled(paid, stages) {
  const sums = /** @type {Map<string, {n: number, sum: number, squares: number, children: number}>} */ (new Map());
  for (const one of paid.flatMap((row) => row.data)) {
    const of = sums.get(one.operator) ?? { n: 0, sum: 0, squares: 0, children: 0 };
    of.children += one.children;
    if (one.known) {
      of.n += one.known;
      of.sum += one.known * one.change;
      of.squares += (one.known - 1) * (one.deviation ?? 0) ** 2 + one.known * one.change ** 2;
    }
    sums.set(one.operator, of);
  }
  return [...sums]
    .map(([operator, { n, sum, squares, children }]) => {
      const change = n ? sum / n : null;
      const variance = n > 1 && change !== null ? Math.max(0, (squares - n * change ** 2) / (n - 1)) : null;
      return {
        operator,
        children,
        known: n,
        change,
        half: variance === null ? null : 1.96 * Math.sqrt(variance / n),
        ...spentOn(operator, stages),
      };
    })
    .sort((a, b) => (b.change ?? -Infinity) - (a.change ?? -Infinity));
}

/** @param {{run: string, paid: any[], stages: any[]}} props */
export function Payoff({ run, paid, stages }) {
  const rows = pooled(paid, stages);
  if (!rows.length) return null;
  const domain = extent(
    rows.flatMap((row) => (row.change === null ? [] : [row.change - (row.half ?? 0), row.change + (row.half ?? 0)])),
    { zero: true },
  );
  const x = linear(domain, [8, WIDTH - 8]);
  const marks = ticks(domain, 4);
  const bounds = (/** @type {Paid} */ row) =>
    row.change === null || row.half === null ? [null, null] : [row.change - row.half, row.change + row.half];
  return html`
    <${Figure}
      title="What operators gain"
      name=${`${run}-operators`}
      says="Informativeness of the children in the batch less that of their parents, mean with its 95 % interval, over
        all iterations. Parents were sampled for high informativeness, so that some fall is to be expected: compare the
        operators with each other."
      numbers=${() => ({
        columns: [
          "operator",
          "change of info",
          "low (95 %)",
          "high (95 %)",
          "children in batches",
          "asked",
          "accepted",
          "tokens",
          "cost (US dollars)",
        ],
        rows: rows.map((row) => [
          row.operator,
          row.change,
          ...bounds(row),
          row.children,
          row.asked,
          row.accepted,
          row.tokens,
          row.cost,
        ]),
      })}
    >
      <div class="scroll" tabindex="0" role="region" aria-label="Operators">
        <table class="data payoff">
          <thead>
            <tr>
              <th scope="col">Operator</th>
              <th scope="col">Change of info, child less parent</th>
              <th scope="col" class="number">Mean</th>
              <th scope="col" class="number">Children in batches</th>
              <th scope="col" class="number">Asked</th>
              <th scope="col" class="number">Refused</th>
              <th scope="col" class="number">Tokens</th>
              <th scope="col" class="number">Cost</th>
            </tr>
          </thead>
          <tbody>
            ${rows.map(
              (row) => html`
                <tr key=${row.operator}>
                  <td><${Operator} name=${row.operator} /></td>
                  <td>
                    <svg
                      class="interval"
                      width=${WIDTH}
                      height=${ROW}
                      viewBox=${`0 0 ${WIDTH} ${ROW}`}
                      role="img"
                      aria-label=${`${figure(row.change)}, interval ${bounds(row).map(figure).join(" to ")}`}
                    >
                      <line class="zero" x1=${x(0)} x2=${x(0)} y1="0" y2=${ROW} />
                      ${
                        row.change !== null &&
                        html`
                          <line
                            class="reach"
                            x1=${x(row.change - (row.half ?? 0))}
                            x2=${x(row.change + (row.half ?? 0))}
                            y1=${ROW / 2}
                            y2=${ROW / 2}
                          />
                          <circle cx=${x(row.change)} cy=${ROW / 2} r="4.5" />
                        `
                      }
                    </svg>
                  </td>
                  <td class="number">${row.change !== null && row.change > 0 ? "+" : ""}${figure(row.change)}</td>
                  <td class="number">${count(row.children)}</td>
                  <td class="number">${count(row.asked)}</td>
                  <td class="number">${percent(row.asked ? 1 - row.accepted / row.asked : null)}</td>
                  <td class="number">${count(row.tokens)}</td>
                  <td class="number">${row.cost ? `$${row.cost.toFixed(2)}` : "–"}</td>
                </tr>
              `,
            )}
          </tbody>
          <tfoot aria-hidden="true">
            <tr>
              <td></td>
              <td>
                <svg class="interval" width=${WIDTH} height="16" viewBox=${`0 0 ${WIDTH} 16`}>
                  ${marks.map(
                    (mark) => html`
                      <text key=${mark} x=${x(mark)} y="11" text-anchor="middle">${markText(mark, marks)}</text>
                    `,
                  )}
                </svg>
              </td>
            </tr>
          </tfoot>
        </table>
      </div>
    <//>
  `;
}
