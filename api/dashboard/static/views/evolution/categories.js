// Reward and reward gap by category of prompt, iteration by iteration (the paper's Figure 6).
import { html } from "../../ui.js";
import { Figure } from "../../charts/figure.js";
import { Plot } from "../../charts/plot.js";

/** @typedef {{iteration: number, name: string, data: any}} Row */

const HUES = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7"];

/** Draws the figures of categories, where the run has them. @param {{run: string, rows: Row[]}} props */
export function Categories({ run, rows }) {
  if (!rows.some((row) => row.data.length)) return null;
  const names = [
    ...new Set(rows.flatMap((row) => row.data.map((/** @type {any} */ figures) => figures.category))),
  ].sort();
  const chart = (
    /** @type {"reward" | "gap"} */ of,
    /** @type {string} */ title,
    /** @type {string} */ caption,
    /** @type {string} */ counted,
  ) => html`
    <${Figure}
      title=${title}
      name=${`${run}-categories-${of}`}
      caption=${caption}
      numbers=${() => ({
        columns: ["iteration", "category", "prompts", `with a ${of}`, of, "from", "to"],
        rows: rows.flatMap((row) =>
          row.data.map((/** @type {any} */ figures) => [
            row.iteration,
            figures.category,
            figures.prompts,
            figures[counted],
            figures[of],
            ...(figures[`${of}_interval`] ?? [null, null]),
          ]),
        ),
      })}
    >
      <${Plot}
        label=${`${title} by iteration`}
        xLabel="iteration"
        yLabel=${of}
        series=${names.map((name, n) => ({
          name,
          hue: HUES[n % HUES.length],
          dashed: n >= HUES.length,
          points: rows.map((row) => {
            const figures = row.data.find((/** @type {any} */ each) => each.category === name);
            const [lo, hi] = figures?.[`${of}_interval`] ?? [null, null];
            return { x: row.iteration, y: figures?.[of] ?? null, lo, hi };
          }),
        }))}
      />
    <//>
  `;
  return html`
    <div class="two">
      ${chart(
        "reward",
        "Reward by category",
        "Mean reward of the responses to the batch's prompts, by the category that the classifier gave each prompt. " +
          "Each prompt counts once; intervals are 95 % over prompts.",
        "rewarded",
      )}
      ${chart(
        "gap",
        "Reward gap by category",
        "Mean gap between the best and the worst response to a prompt. In the paper, the category with the lowest " +
          "reward has the widest gap.",
        "informative",
      )}
    </div>
  `;
}
