// The topics of the batch: the share of each, iteration by iteration.
import { html } from "../../ui.js";
import { Figure } from "../../charts/figure.js";
import { Plot } from "../../charts/plot.js";
import { percent } from "../../parts/format.js";

/** @typedef {{iteration: number, name: string, data: any}} Row */

const MOST_TOPICS = 6;
const TOPIC_HUES = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6"];

/** Draws the shares of topics, where prompts have topics. @param {{run: string, diversity: Row[]}} props */
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
      caption="Topics that the batch's prompts inherit from their seed prompts, as shares of the prompts that have one.
        If one topic takes over, either the regret is there or the creator is stuck."
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
