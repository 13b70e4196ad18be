// What changes from iteration to iteration: what each operator gains, and what the prompts are about.
import { html } from "../ui.js";
import { Figure } from "../figure.js";
import { percent } from "../format.js";
import { hueOf } from "../pieces.js";
import { Plot } from "../plot.js";
import { extent } from "../scales.js";
import { spentOn } from "./payoff.js";

/** @typedef {{iteration: number, name: string, data: any}} Row */
/**
 * @typedef {{operator: string, iteration: number, change: number | null, half: number | null, children: number,
 *   asked: number, accepted: number, cost: number}} Gain
 */

const MOST_OPERATORS = 12;
const MOST_TOPICS = 6;
const TOPIC_HUES = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6"];

/** @param {Row[]} paid @param {any[]} stages @returns {Gain[]} */
function gains(paid, stages) {
  return paid.flatMap((row) =>
    row.data.map((/** @type {any} */ one) => ({
      operator: one.operator,
      iteration: row.iteration,
      children: one.children,
      change: one.known ? one.change : null,
      half: one.known > 1 ? (1.96 * one.deviation) / Math.sqrt(one.known) : null,
      ...spentOn(
        one.operator,
        stages.filter((each) => each.number === row.iteration),
      ),
    })),
  );
}

/** A small chart for each operator, all on one scale. @param {{run: string, paid: Row[], stages: any[]}} props */
export function Gains({ run, paid, stages }) {
  const every = gains(paid, stages);
  const names = [...new Set(every.map((one) => one.operator))].sort();
  const low = (/** @type {Gain} */ one) => (one.change === null ? null : one.change - (one.half ?? 0));
  const high = (/** @type {Gain} */ one) => (one.change === null ? null : one.change + (one.half ?? 0));
  const domain = extent(
    every.flatMap((one) => [low(one), high(one)]),
    { zero: true },
  );
  if (paid.length < 2) return null;
  return html`
    <${Figure}
      title="Operators, iteration by iteration"
      name=${`${run}-operators-by-iteration`}
      says="The same change of informativeness in each iteration, with its 95 % interval, all on one scale. An operator
        that sinks has run out of what it can add."
      numbers=${() => ({
        columns: [
          "operator",
          "iteration",
          "change of info",
          "low (95 %)",
          "high (95 %)",
          "children in batches",
          "asked",
          "refused (share)",
          "cost (US dollars)",
        ],
        rows: every.map((one) => [
          one.operator,
          one.iteration,
          one.change,
          low(one),
          high(one),
          one.children,
          one.asked,
          one.asked ? 1 - one.accepted / one.asked : null,
          one.cost,
        ]),
      })}
    >
      ${
        names.length > MOST_OPERATORS &&
        html`<p class="soft small">The first ${MOST_OPERATORS} of ${names.length} operators; the numbers have all.</p>`
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
                  points: every
                    .filter((one) => one.operator === name)
                    .map((one) => ({ x: one.iteration, y: one.change, lo: low(one), hi: high(one) })),
                },
              ]}
            />
          `,
        )}
      </div>
    <//>
  `;
}

/** What the batch is about, where prompts carry topics. @param {{run: string, diversity: Row[]}} props */
export function Topics({ run, diversity }) {
  const rows = diversity.filter((row) => Object.keys(row.data.topics ?? {}).length);
  const peaks = /** @type {Map<string, number>} */ (new Map());
  for (const row of rows)
    for (const [topic, share] of Object.entries(row.data.topics))
      peaks.set(topic, Math.max(peaks.get(topic) ?? 0, Number(share)));
  if (peaks.size < 2) return null;
  const topics = [...peaks].sort(([, a], [, b]) => b - a).map(([topic]) => topic);
  const drawn = topics.slice(0, MOST_TOPICS);
  const rest = (/** @type {Row} */ row) => 1 - drawn.reduce((sum, topic) => sum + (row.data.topics[topic] ?? 0), 0);
  const series = drawn.map((topic, n) => ({
    name: topic,
    hue: TOPIC_HUES[n],
    points: rows.map((row) => ({ x: row.iteration, y: row.data.topics[topic] ?? 0 })),
  }));
  const others = {
    name: `${topics.length - drawn.length} others`,
    hue: "--c7",
    dashed: true,
    points: rows.map((row) => ({ x: row.iteration, y: Math.max(0, rest(row)) })),
  };
  return html`
    <${Figure}
      title="Topics of the batch"
      name=${`${run}-topics`}
      says="Share of the batch's prompts that carry a topic, by the topic that they inherit from their seed prompt. A
        topic that takes over is where the regret is, or where the creator is stuck."
      numbers=${() => ({
        columns: ["iteration", "topic", "share of prompts with a topic"],
        rows: rows.flatMap((row) => topics.map((topic) => [row.iteration, topic, row.data.topics[topic] ?? 0])),
      })}
    >
      <${Plot}
        label="Share of topics in the batch by iteration"
        xLabel="iteration"
        yLabel="share of prompts"
        zero=${true}
        format=${(/** @type {number | null | undefined} */ share) => percent(share, 1)}
        axisFormat=${(/** @type {number} */ share) => percent(share)}
        series=${topics.length > drawn.length ? [...series, others] : series}
      />
    <//>
  `;
}
