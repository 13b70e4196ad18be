// Which operator a parent gets where the creator learns that: its probabilities, and what they are made from.
import { html } from "../../ui.js";
import { hueOf } from "../../charts/colours.js";
import { Figure } from "../../charts/figure.js";
import { intervalScale } from "../../charts/interval.js";
import { IntervalTable } from "../../charts/interval-table.js";
import { Plot } from "../../charts/plot.js";
import { count, inColumn, percent } from "../../parts/format.js";
import { Operator } from "../../parts/labels.js";

/**
 * @typedef {{operator: string, worth: number | null, error: number | null, attempts: number, probability: number}}
 *   Belief
 */
/** @typedef {{iteration: number, name: string, data: Belief[]}} Row */

/** @param {{run: string, choices: Row[], shown: number}} props `shown`: the iteration to explain, or the newest */
export function OperatorChoice({ run, choices, shown }) {
  if (!choices.length) return null;
  const names = [...new Set(choices.flatMap((row) => row.data.map((belief) => belief.operator)))].sort();
  const explained = choices.find((row) => row.iteration === shown) ?? choices[choices.length - 1];
  const beliefs = [...explained.data].sort((a, b) => b.probability - a.probability);
  const low = (/** @type {Belief} */ belief) =>
    belief.worth === null ? null : belief.worth - 1.96 * (belief.error ?? 0);
  const high = (/** @type {Belief} */ belief) =>
    belief.worth === null ? null : belief.worth + 1.96 * (belief.error ?? 0);
  const scale = intervalScale(
    beliefs.flatMap((belief) => [low(belief), high(belief)]),
    { zero: true },
  );
  const worth = inColumn(beliefs.map((belief) => belief.worth));
  const known = beliefs.some((belief) => belief.worth !== null);
  return html`
    <${Figure}
      title="Choice of operators"
      name=${`${run}-operator-choice`}
      caption="The probability with which a parent gets each operator. The bandit draws what each might be worth from
        what is known of it, again and again, and takes the best: one of which little is known is tried, one that is
        surely worse keeps no more than its floor."
      numbers=${() => ({
        columns: ["iteration", "operator", "probability", "worth of an attempt", "standard error", "attempts known"],
        rows: choices.flatMap((row) =>
          row.data.map((belief) => [
            row.iteration,
            belief.operator,
            belief.probability,
            belief.worth,
            belief.error,
            belief.attempts,
          ]),
        ),
      })}
    >
      ${
        choices.length > 1 &&
        html`
          <${Plot}
            label="Probability of each operator by iteration"
            xLabel="iteration"
            yLabel="probability"
            zero=${true}
            format=${(/** @type {number | null | undefined} */ share) => percent(share, 1)}
            axisFormat=${(/** @type {number} */ share) => percent(share)}
            series=${names.map((name) => ({
              name,
              hue: hueOf(name),
              points: choices.map((row) => ({
                x: row.iteration,
                y: row.data.find((belief) => belief.operator === name)?.probability ?? null,
              })),
            }))}
          />
        `
      }
      <p class="soft small">
        ${`Iteration ${explained.iteration}: `}${
          known
            ? "what an attempt was worth in the iterations before (the info of its child, 0 if that was refused), " +
              "newer ones counting more, with its 95% interval."
            : "nothing was known of any operator yet, so all were as likely."
        }
      </p>
      <${IntervalTable}
        label="What the choice is made from"
        columns=${["Operator", "Worth of an attempt", "Mean", "Attempts", "Probability"]}
        scale=${scale}
        rows=${beliefs.map((belief) => ({
          key: belief.operator,
          name: html`<${Operator} name=${belief.operator} />`,
          value: belief.worth,
          low: low(belief),
          high: high(belief),
          hue: hueOf(belief.operator),
          words:
            belief.worth === null
              ? "not known"
              : `${worth(belief.worth)}, interval ${worth(low(belief))} to ${worth(high(belief))}`,
          cells: [worth(belief.worth), count(belief.attempts), percent(belief.probability, 1)],
        }))}
      />
    <//>
  `;
}
