// What the children of a creator with weights of its own were worth, part by part.
import { html } from "../../ui.js";
import { Figure } from "../../charts/figure.js";
import { Plot } from "../../charts/plot.js";
import { figure } from "../../parts/format.js";

/** @typedef {import("../../data/schema.d.ts").CreatorIteration} CreatorIteration */

/** @typedef {[string, string, (row: CreatorIteration) => number | null]} Line */
/** @type {{title: string, y: string, caption: string, lines: Line[]}[]} */
const PANELS = [
  {
    title: "What the creator earns",
    y: "mean",
    caption:
      "A child earns its regret, less the share that its likeness takes; a refused reply earns nothing. " +
      "A creator that collapses shows here: regret falls while likeness rises.",
    lines: [
      ["regret", "--c2", (row) => row.regret],
      ["reward", "--c3", (row) => row.reward],
    ],
  },
  {
    title: "What the creator repeats",
    y: "share",
    caption:
      "Likeness: the greatest likeness of a child to another child or an earlier prompt that is not its ancestor, on " +
      "average. Accepted: replies that no check refused. New: those that also repeat no child of the same iteration.",
    lines: [
      ["likeness", "--c8", (row) => row.likeness],
      ["accepted", "--c1", (row) => share(row.accepted, row.replies)],
      ["new", "--c4", (row) => share(row.children, row.replies)],
    ],
  },
];

/** @param {number} part @param {number} whole */
const share = (part, whole) => (whole ? part / whole : null);

/** @param {{run: string, rows: CreatorIteration[]}} props */
export const Earnings = ({ run, rows }) =>
  rows.length > 0 &&
  html`
    <div class="two">
      ${PANELS.map(
        ({ title, y, caption, lines }) => html`
          <${Figure}
            key=${title}
            title=${title}
            name=${`${run}-${title.toLowerCase().replaceAll(" ", "-")}`}
            caption=${caption}
            numbers=${() => ({
              columns: ["iteration", "replies", "judged", "trained on", ...lines.map(([name]) => name)],
              rows: rows.map((row) => [
                row.iteration,
                row.replies,
                row.judged,
                row.trained,
                ...lines.map(([, , value]) => value(row)),
              ]),
            })}
          >
            <${Plot}
              label=${`${title}, by iteration`}
              xLabel="iteration"
              yLabel=${y}
              zero=${true}
              dots=${true}
              height=${220}
              format=${figure}
              xName=${(/** @type {number} */ x) => `iteration ${x}`}
              series=${lines.map(([name, hue, value]) => ({
                name,
                hue,
                points: rows.map((row) => ({ x: row.iteration, y: value(row) })),
              }))}
            />
          <//>
        `,
      )}
    </div>
  `;
