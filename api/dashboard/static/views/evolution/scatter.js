// Scatter plot of prompts; clicking a dot opens its prompt.
import { html } from "../../ui.js";
import { Legend, useWidth } from "../../charts/plot.js";
import { extent, linear, markText, ticks } from "../../charts/scales.js";
import { figure } from "../../parts/format.js";
import { go, runPath } from "../../router.js";

/** @typedef {{number: number, x: number | null, y: number | null, sampled: boolean}} Mark */

const [LEFT, RIGHT, TOP, BOTTOM, HEIGHT] = [42, 14, 28, 40, 280];

/** @param {{run: string, dots: Mark[], label: string, xLabel: string, yLabel: string}} props */
export function Scatter({ run, dots, label, xLabel, yLabel }) {
  const [box, width] = useWidth();
  const drawn = /** @type {{number: number, x: number, y: number, sampled: boolean}[]} */ (
    dots.filter((dot) => dot.x !== null && dot.y !== null)
  ).sort((a, b) => Number(a.sampled) - Number(b.sampled));
  const domains = { x: extent(drawn.map((dot) => dot.x)), y: extent(drawn.map((dot) => dot.y)) };
  const x = linear(domains.x, [LEFT + 6, width - RIGHT]);
  const y = linear(domains.y, [HEIGHT - BOTTOM - 6, TOP]);
  const [marksX, marksY] = [ticks(domains.x, width / 90), ticks(domains.y, 4)];
  return html`
    <div class="chart" ref=${box}>
      <svg height=${HEIGHT} viewBox=${`0 0 ${width} ${HEIGHT}`} role="img" aria-label=${label}>
        ${marksY.map(
          (mark) => html`
            <g key=${mark}>
              <line class="grid" x1=${LEFT} x2=${width - RIGHT} y1=${y(mark)} y2=${y(mark)} />
              <text x=${LEFT - 8} y=${y(mark)} dy=".32em" text-anchor="end">${markText(mark, marksY)}</text>
            </g>
          `,
        )}
        ${marksX.map(
          (mark) => html`
            <text key=${mark} x=${x(mark)} y=${HEIGHT - BOTTOM + 16} text-anchor="middle">
              ${markText(mark, marksX)}
            </text>
          `,
        )}
        <text class="axis-name" x="0" y="11">${yLabel}</text>
        <text class="axis-name" x=${(LEFT + width - RIGHT) / 2} y=${HEIGHT - 6} text-anchor="middle">${xLabel}</text>
        ${drawn.map(
          (dot) => html`
            <circle
              key=${dot.number}
              class="mark"
              cx=${x(dot.x)}
              cy=${y(dot.y)}
              r="4"
              style=${{ fill: `var(${dot.sampled ? "--c2" : "--c1"})` }}
              onClick=${() => go(runPath(run, "prompts", dot.number))}
            >
              <title>#${dot.number}: ${xLabel} ${figure(dot.x)}, ${yLabel} ${figure(dot.y)}</title>
            </circle>
          `,
        )}
      </svg>
      <${Legend} series=${[
        { name: "sampled", hue: "--c2" },
        { name: "not sampled", hue: "--c1" },
      ]} />
    </div>
  `;
}
