// The population: how large a part of each batch every family has, from one iteration to the next.
import { html, useState } from "../../ui.js";
import { Figure } from "../../charts/figure.js";
import { useWidth } from "../../charts/plot.js";
import { linear } from "../../charts/scales.js";
import { count, percent } from "../../parts/format.js";
import { go, Link, runPath } from "../../router.js";

/** @typedef {import("../../data/schema.d.ts").PromptFamilies} PromptFamilies */
/** @typedef {import("../../data/schema.d.ts").PromptFamily} PromptFamily */

const [LEFT, RIGHT, TOP, BOTTOM, HEIGHT] = [42, 12, 12, 40, 320];
const HUES = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c8"];
const LISTED = 8;

/** @param {{run: string, families: PromptFamilies}} props */
export function Population({ run, families }) {
  const { items, total, iterations, sizes } = families;
  if (iterations.length < 2) return null;
  const shares = (/** @type {PromptFamily} */ family) => family.members.map((n, k) => (sizes[k] ? n / sizes[k] : 0));
  return html`
    <${Figure}
      title="Population"
      name=${`${run}-population`}
      caption=${
        `Every seed prompt's part of the batch, iteration by iteration: a band is a family, as high as its share. ` +
        (total > items.length
          ? `These are the ${count(items.length)} of ${count(total)} families with the most descendants; ` +
            "the rest is grey. "
          : "") +
        "Where few bands are left, the creator has narrowed. A band opens its family."
      }
      numbers=${() => ({
        columns: ["family", "text", "descendants", ...iterations.map((iteration) => `share of batch ${iteration}`)],
        rows: items.map((family) => [String(family.root), family.text, family.descendants, ...shares(family)]),
      })}
    >
      <${Bands} run=${run} items=${items} iterations=${iterations} shares=${items.map(shares)} />
      <ol class="families small">
        ${items.slice(0, LISTED).map(
          (family) => html`
            <li key=${family.root}>
              <${Link} to=${lineageOf(run, family)}>Family ${family.root}<//>
              ${`: ${count(family.descendants)} descendants. `}<span class="soft">${family.text}</span>
            </li>
          `,
        )}
      </ol>
    <//>
  `;
}

/** @param {string} run @param {PromptFamily} family */
const lineageOf = (run, family) => `${runPath(run, "lineage")}?prompt=${family.root}`;

/** @param {{run: string, items: PromptFamily[], iterations: number[], shares: number[][]}} props */
function Bands({ run, items, iterations, shares }) {
  const [box, width] = useWidth();
  const [at, setAt] = useState(/** @type {number | null} */ (null));
  const x = linear([iterations[0], iterations[iterations.length - 1]], [LEFT + 6, width - RIGHT - 6]);
  const y = linear([0, 1], [HEIGHT - BOTTOM, TOP]);
  const tops = /** @type {number[][]} */ ([]);
  let below = iterations.map(() => 0);
  for (const share of shares) {
    below = below.map((sum, k) => sum + share[k]);
    tops.push(below);
  }
  const band = (/** @type {number} */ n) => {
    const floor = n ? tops[n - 1] : iterations.map(() => 0);
    const edge = (/** @type {number[]} */ heights) =>
      heights.map((height, k) => `${x(iterations[k]).toFixed(1)} ${y(height).toFixed(1)}`);
    return `M${[...edge(tops[n]), ...edge(floor).reverse()].join("L")}Z`;
  };
  const every = Math.max(1, Math.ceil((iterations.length * 40) / width));
  const marked = at === null ? null : items[at];
  return html`
    <div class="chart" ref=${box}>
      <svg
        height=${HEIGHT}
        viewBox=${`0 0 ${width} ${HEIGHT}`}
        role="img"
        aria-label="Share of each family in the batch by iteration"
        onPointerLeave=${() => setAt(null)}
      >
        <rect
          class="other-families"
          x=${x(iterations[0])}
          width=${x(iterations[iterations.length - 1]) - x(iterations[0])}
          y=${y(1)}
          height=${y(0) - y(1)}
        />
        ${items.map(
          (family, n) => html`
            <path
              key=${family.root}
              class=${at === n ? "family-band marked" : "family-band"}
              style=${{ fill: `var(${HUES[n % HUES.length]})` }}
              d=${band(n)}
              onPointerMove=${() => setAt(n)}
              onClick=${() => go(lineageOf(run, family))}
            />
          `,
        )}
        ${[0, 0.5, 1].map(
          (mark) => html`
            <text key=${mark} x=${LEFT - 8} y=${y(mark)} dy=".32em" text-anchor="end">${percent(mark)}</text>
          `,
        )}
        ${iterations
          .filter((_, k) => k % every === 0)
          .map(
            (iteration) => html`
              <text key=${iteration} x=${x(iteration)} y=${HEIGHT - BOTTOM + 16} text-anchor="middle">
                ${iteration}
              </text>
            `,
          )}
        <text class="axis-name" x=${(LEFT + width - RIGHT) / 2} y=${HEIGHT - 6} text-anchor="middle">iteration</text>
      </svg>
      ${
        marked &&
        html`
          <div class="tip family-tip" role="status">
            <b>Family ${marked.root}</b>
            <p>${marked.text}</p>
            <p class="soft">
              ${count(marked.descendants)} descendants; share of the batches
              ${` ${shares[/** @type {number} */ (at)].map((share) => percent(share, 1)).join(" → ")}`}
            </p>
          </div>
        `
      }
    </div>
  `;
}
