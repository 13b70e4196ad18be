// A value with its interval in a row of a table, all rows on one scale; dots for what it was computed from.
import { classes, html } from "../ui.js";
import { extent, linear, markText, ticks } from "./scales.js";

/** @typedef {{name: string, value: number, title: string, open: () => void}} Dot */
/** @typedef {{x: (value: number) => number, marks: number[], width: number, zero: boolean}} IntervalScale */

const [SMALL, WITH_DOTS] = [24, 40];

/**
 * The scale that the rows of a table share. `zero` includes 0 and marks it.
 * @param {(number | null | undefined)[]} values
 * @param {{width?: number, zero?: boolean, domain?: [number, number]}} [how]
 * @returns {IntervalScale}
 */
export function intervalScale(values, { width = 300, zero = false, domain = extent(values, { zero }) } = {}) {
  return { x: linear(domain, [10, width - 10]), marks: ticks(domain, 4), width, zero };
}

/**
 * @param {{scale: IntervalScale, value: number | null | undefined, low?: number | null, high?: number | null,
 *   label: string, hue?: string, dots?: Dot[], margin?: number, tick?: number | null}} props `margin`: differences
 *   below it count as none; `tick`: another value, to compare with
 */
export function Interval({ scale, value, low, high, label, hue, dots, margin = 0, tick = null }) {
  const { x, width } = scale;
  const height = dots ? WITH_DOTS : SMALL;
  const middle = height / 2;
  const known = value !== null && value !== undefined;
  return html`
    <svg
      class=${classes("interval", dots && "forest")}
      style=${hue ? { "--hue": `var(${hue})` } : undefined}
      width=${width}
      height=${height}
      viewBox=${`0 0 ${width} ${height}`}
      role="img"
      aria-label=${label}
    >
      ${
        margin > 0 &&
        html`<rect class="margin" x=${x(-margin)} width=${x(margin) - x(-margin)} y="0" height=${height} />`
      }
      ${scale.zero && html`<line class="zero" x1=${x(0)} x2=${x(0)} y1="0" y2=${height} />`}
      ${(dots ?? []).map(
        (dot, n) => html`
          <circle
            key=${dot.name}
            class="mark"
            cx=${x(dot.value)}
            cy=${middle + (n % 2 ? 9 : -9) + ((n % 3) - 1) * 3}
            r="3.5"
            onClick=${dot.open}
          >
            <title>${dot.title}</title>
          </circle>
        `,
      )}
      ${
        known &&
        low !== null &&
        low !== undefined &&
        high !== null &&
        high !== undefined &&
        html`<line class="reach" x1=${x(low)} x2=${x(high)} y1=${middle} y2=${middle} />`
      }
      ${tick !== null && html`<line class="tick" x1=${x(tick)} x2=${x(tick)} y1="3" y2=${height - 3} />`}
      ${known && html`<circle class="mean" cx=${x(value)} cy=${middle} r="5" />`}
    </svg>
  `;
}

/**
 * The last row of such a table: the scale, below the intervals in its second column.
 * @param {{scale: IntervalScale}} props
 */
export const IntervalAxis = ({ scale }) => html`
  <tfoot aria-hidden="true">
    <tr>
      <td></td>
      <td>
        <svg class="interval" width=${scale.width} height="16" viewBox=${`0 0 ${scale.width} 16`}>
          ${scale.marks.map(
            (mark) => html`
              <text key=${mark} x=${scale.x(mark)} y="11" text-anchor="middle">
                ${markText(mark, scale.marks)}
              </text>
            `,
          )}
        </svg>
      </td>
    </tr>
  </tfoot>
`;
