// What semi-online training learned from, chunk by chunk.
import { html } from "../../ui.js";
import { Figure } from "../../charts/figure.js";
import { Plot } from "../../charts/plot.js";
import { figure } from "../../parts/format.js";

/** @typedef {import("../../data/schema.d.ts").TrainedChunk} TrainedChunk */

/** What each chunk of semi-online training was trained on. @param {{run: string, items: TrainedChunk[]}} props */
export function ChunkCharts({ run, items }) {
  const last = items[items.length - 1];
  const names = items.map((chunk) => `iteration ${chunk.iteration}, chunk ${chunk.chunk} of ${chunk.of}`);
  const curves = [
    {
      title: "Reward of the chunks",
      y: "mean reward",
      hue: "--c1",
      value: (/** @type {TrainedChunk} */ chunk) => chunk.reward,
    },
    {
      title: "Staleness of the chunks",
      y: "steps",
      hue: "--c8",
      value: (/** @type {TrainedChunk} */ chunk) => chunk.staleness,
    },
  ];
  const captions = [
    "Mean reward of the responses to each chunk, by the newest policy.",
    "Mean age of the responses in a chunk's pairs when it was trained on. Prompts from the buffer keep the responses " +
      "that the pool's stage has generated.",
  ];
  return html`
    <h2>Chunks</h2>
    <p class="lead">
      The solver trains on a chunk and answers the next with its newest weights. Chunk ${last.chunk} of ${last.of} of
      iteration ${last.iteration} is the newest with pairs.
    </p>
    <div class="two">
      ${curves.map(
        ({ title, y, hue, value }, curve) => html`
          <${Figure}
            key=${title}
            title=${title}
            name=${`${run}-${title.toLowerCase().replaceAll(" ", "-")}`}
            caption=${captions[curve]}
            numbers=${() => ({
              columns: ["iteration", "chunk", "prompts", "pairs", "steps", "steps before", "reward", "staleness"],
              rows: items.map((chunk) => [
                chunk.iteration,
                chunk.chunk,
                chunk.prompts,
                chunk.pairs,
                chunk.steps,
                chunk.start,
                chunk.reward,
                chunk.staleness,
              ]),
            })}
          >
            <${Plot}
              label=${`${title}, in the order of training`}
              xLabel="chunk"
              yLabel=${y}
              zero=${curve === 1}
              dots=${items.length < 60}
              height=${220}
              format=${figure}
              xName=${(/** @type {number} */ x) => names[x] ?? `chunk ${x}`}
              series=${[{ name: title, hue, points: items.map((chunk, n) => ({ x: n, y: value(chunk) })) }]}
            />
          <//>
        `,
      )}
    </div>
  `;
}
