// Line chart over iterations or steps, with intervals and bands. Most views are made of it.
import { classes, html, useEffect, useMemo, useRef, useState } from "../ui.js";
import { figure } from "../parts/format.js";
import { extent, linear, markText, pathOf, ticks } from "./scales.js";

/** @typedef {{x: number, y: number | null, lo?: number | null, hi?: number | null}} Point */
/**
 * @typedef {{name: string, hue: string, points: Point[], dashed?: boolean, band?: boolean,
 *   faint?: boolean}} Series
 */
/**
 * @typedef {{series: Series[], xLabel: string, yLabel: string, label: string, height?: number, zero?: boolean,
 *   yDomain?: [number, number], whole?: boolean, format?: (value: number | null | undefined) => string,
 *   axisFormat?: (value: number) => string, xName?: (x: number) => string, dots?: boolean,
 *   shared?: {value: number | null}, rules?: {x: number, label: string}[],
 *   zoom?: (range: [number, number] | null) => void}} PlotProps `shared`: the place that the charts of a page mark
 *   together; `rules`: places to mark with a vertical line; `zoom`: called with the part that was dragged over or
 *   chosen by keyboard, null for the whole
 */

const LEFT = 42;
const RIGHT = 12;
const TOP = 28;
const BOTTOM = 40;
/** Pixels below which a drag is a click. */
const SHORTEST_BRUSH = 8;

/** Measures the width of an element, also when it changes. @returns {[{current: any}, number]} */
export function useWidth() {
  const ref = useRef(/** @type {any} */ (null));
  const [width, setWidth] = useState(640);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.max(240, Math.round(entry.contentRect.width))));
    observer.observe(ref.current);
    return () => observer.disconnect();
  }, []);
  return [ref, width];
}

/** @param {PlotProps} props */
export function Plot({
  series,
  xLabel,
  yLabel,
  label,
  height = 250,
  zero = false,
  yDomain,
  whole = true,
  format = figure,
  axisFormat,
  xName,
  dots = true,
  shared,
  rules = [],
  zoom,
}) {
  const [box, width] = useWidth();
  const [own, setOwn] = useState(/** @type {number | null} */ (null));
  const [brush, setBrush] = useState(/** @type {[number, number] | null} */ (null));
  const setAt = (/** @type {number | null} */ place) => {
    if (shared) shared.value = place;
    else setOwn(place);
  };
  const xs = useMemo(
    () =>
      [
        ...new Set(
          series.flatMap((line) =>
            line.points.filter((point) => point.y !== null || Number.isInteger(point.x)).map((point) => point.x),
          ),
        ),
      ].sort((a, b) => a - b),
    [series],
  );
  const place = shared ? shared.value : own;
  const at = place !== null && xs.includes(place) ? place : null;
  const domainY = useMemo(
    () =>
      yDomain ??
      extent(
        series.flatMap((line) => line.points.flatMap((point) => [point.y, point.lo ?? null, point.hi ?? null])),
        { zero },
      ),
    [series, yDomain, zero],
  );
  const domainX = /** @type {[number, number]} */ (
    xs.length > 1 ? [xs[0], xs[xs.length - 1]] : [(xs[0] ?? 0) - 0.5, (xs[0] ?? 0) + 0.5]
  );
  const inset = Math.min(14, (width - LEFT - RIGHT) / 20);
  const x = linear(domainX, [LEFT + inset, width - RIGHT - inset]);
  const y = linear(domainY, [height - BOTTOM, TOP]);
  const marksX = xs.length === 1 ? xs : ticks(domainX, Math.min(xs.length, width / 70), whole);
  const seen = rules.filter((rule) => rule.x >= domainX[0] && rule.x <= domainX[1]);
  const marksY = ticks(domainY, Math.max(2, (height - BOTTOM) / 48));

  const placeOf = (/** @type {PointerEvent} */ event) =>
    event.clientX - /** @type {Element} */ (event.currentTarget).getBoundingClientRect().left;
  const valueAt = linear([LEFT + inset, width - RIGHT - inset], domainX);
  const startBrush = (/** @type {PointerEvent} */ event) => {
    // a finger that moves over a chart scrolls the page
    if (!zoom || event.button || event.pointerType === "touch") return;
    event.preventDefault();
    /** @type {Element} */ (event.currentTarget).setPointerCapture(event.pointerId);
    setBrush([placeOf(event), placeOf(event)]);
  };
  const endBrush = () => {
    if (brush && Math.abs(brush[1] - brush[0]) >= SHORTEST_BRUSH) {
      const ends = brush.map((pixel) => Math.min(domainX[1], Math.max(domainX[0], valueAt(pixel))));
      zoom?.([Math.min(...ends), Math.max(...ends)]);
    }
    setBrush(null);
  };
  const near = (/** @type {PointerEvent} */ event) => {
    const pointerX = placeOf(event);
    if (brush) setBrush([brush[0], pointerX]);
    setAt(xs.length ? xs.reduce((a, b) => (Math.abs(x(b) - pointerX) < Math.abs(x(a) - pointerX) ? b : a)) : null);
  };
  const step = (/** @type {KeyboardEvent} */ event) => {
    if (zoom && ["+", "=", "-", "0"].includes(event.key)) {
      event.preventDefault();
      const [middle, half] = [at ?? (domainX[0] + domainX[1]) / 2, (domainX[1] - domainX[0]) / 2];
      const reach = event.key === "-" ? 2 * half : half / 2;
      zoom(event.key === "0" ? null : [middle - reach, middle + reach]);
      return;
    }
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || !xs.length) return;
    event.preventDefault();
    const index = at === null ? (by > 0 ? -1 : xs.length) : xs.indexOf(at);
    setAt(xs[Math.min(xs.length - 1, Math.max(0, index + by))]);
  };

  return html`
    <div class="chart" ref=${box}>
      <svg
        height=${height}
        viewBox=${`0 0 ${width} ${height}`}
        role="img"
        aria-label=${label}
        tabindex="0"
        class=${zoom ? "brushed" : undefined}
        onPointerDown=${startBrush}
        onPointerUp=${endBrush}
        onPointerCancel=${() => setBrush(null)}
        onPointerMove=${near}
        onPointerLeave=${() => setAt(null)}
        onKeyDown=${step}
        onBlur=${() => setAt(null)}
      >
        ${marksY.map(
          (mark) => html`
            <g key=${mark}>
              <line class="grid" x1=${LEFT} x2=${width - RIGHT} y1=${y(mark)} y2=${y(mark)} />
              <text x=${LEFT - 8} y=${y(mark)} dy=".32em" text-anchor="end">
                ${axisFormat ? axisFormat(mark) : markText(mark, marksY)}
              </text>
            </g>
          `,
        )}
        <line class="axis" x1=${LEFT} x2=${width - RIGHT} y1=${height - BOTTOM} y2=${height - BOTTOM} />
        ${marksX.map(
          (mark) => html`
            <text key=${mark} x=${x(mark)} y=${height - BOTTOM + 16} text-anchor="middle">
              ${markText(mark, marksX)}
            </text>
          `,
        )}
        <text class="axis-name" x=${(LEFT + width - RIGHT) / 2} y=${height - 6} text-anchor="middle">${xLabel}</text>
        <text class="axis-name" x="0" y="11">${yLabel}</text>
        ${seen.map(
          (rule) => html`
            <line key=${rule.x} class="rule" x1=${x(rule.x)} x2=${x(rule.x)} y1=${TOP} y2=${height - BOTTOM} />
          `,
        )}
        ${
          brush &&
          html`
            <rect
              class="brush"
              x=${Math.min(...brush)}
              width=${Math.abs(brush[1] - brush[0])}
              y=${TOP}
              height=${height - BOTTOM - TOP}
            />
          `
        }
        ${at !== null && html`<line class="cursor" x1=${x(at)} x2=${x(at)} y1=${TOP} y2=${height - BOTTOM} />`}
        ${series.map(
          (line) => html`
            <${Line} key=${line.name} line=${line} x=${x} y=${y} few=${dots && xs.length <= 40} at=${at} />
          `,
        )}
        ${seen.map(
          (rule) => html`
            <text key=${rule.x} class="rule-name" x=${x(rule.x) + 4} y=${TOP + 10}>${rule.label}</text>
          `,
        )}
      </svg>
      ${
        at !== null &&
        html`
          <${Tip}
            series=${series}
            at=${at}
            left=${x(at)}
            width=${width}
            xLabel=${xLabel}
            format=${format}
            xName=${xName}
          />
        `
      }
      <${Legend} series=${series.filter((line) => !line.faint)} />
    </div>
  `;
}

/**
 * @param {{line: Series, x: (v: number) => number, y: (v: number) => number, few: boolean, at: number | null}} props
 */
function Line({ line, x, y, few, at }) {
  const hue = `var(${line.hue})`;
  const withInterval = line.points.filter(
    (point) => point.lo !== null && point.lo !== undefined && point.hi !== null && point.hi !== undefined,
  );
  const edge = (/** @type {"lo" | "hi"} */ side) =>
    withInterval.map((point) => ({ x: x(point.x), y: y(Number(point[side])) }));
  return html`
    <g>
      ${
        line.band &&
        withInterval.length > 1 &&
        html`
          <path
            class="band"
            style=${{ fill: hue }}
            d=${`${pathOf(edge("hi"))}L${pathOf(edge("lo").reverse()).slice(1)}Z`}
          />
        `
      }
      ${
        !line.band &&
        withInterval.map(
          (point) => html`
            <line
              key=${point.x}
              class="whisker"
              style=${{ stroke: hue }}
              x1=${x(point.x)}
              x2=${x(point.x)}
              y1=${y(Number(point.lo))}
              y2=${y(Number(point.hi))}
            />
          `,
        )
      }
      <path
        class=${classes("line", line.dashed && "dashed", line.faint && "faint")}
        style=${{ stroke: hue }}
        d=${pathOf(line.points.map((point) => (point.y === null ? null : { x: x(point.x), y: y(point.y) })))}
      />
      ${line.points.map(
        (point) =>
          point.y !== null &&
          (few || point.x === at) &&
          html`
            <circle
              key=${point.x}
              class="dot"
              style=${{ fill: hue }}
              cx=${x(point.x)}
              cy=${y(point.y)}
              r=${point.x === at ? 5 : 3.5}
            />
          `,
      )}
    </g>
  `;
}

/**
 * @param {{series: Series[], at: number, left: number, width: number, xLabel: string, format: Function,
 *   xName?: Function}} props
 */
function Tip({ series, at, left, width, xLabel, format, xName }) {
  const right = left > width / 2;
  const rows = series
    .map((line) => ({ line, point: line.points.find((point) => point.x === at) }))
    .filter((row) => row.point);
  return html`
    <div
      class="tip"
      role="status"
      style=${right ? { right: `${width - left + 12}px`, top: "12px" } : { left: `${left + 12}px`, top: "12px" }}
    >
      <b>${xName ? xName(at) : `${xLabel} ${at}`}</b>
      <table>
        ${rows.map(
          ({ line, point }) => html`
            <tr key=${line.name}>
              <td><span class="key" style=${{ "--hue": `var(${line.hue})` }} />${line.name}</td>
              <td>
                ${format(point?.y)}
                ${
                  point?.lo !== undefined && point.lo !== null && !line.band
                    ? html`${" "}<span class="soft">(${format(point.lo)} – ${format(point.hi)})</span>`
                    : null
                }
              </td>
            </tr>
          `,
        )}
      </table>
    </div>
  `;
}

/** @param {{series: {name: string, hue: string, dashed?: boolean, band?: boolean}[]}} props */
export const Legend = ({ series }) => html`
  <ul class="legend">
    ${series.map(
      (line) => html`
        <li key=${line.name}>
          <span class=${line.dashed ? "key dashed" : "key"} style=${{ "--hue": `var(${line.hue})` }} />
          ${line.name}
        </li>
      `,
    )}
  </ul>
`;

/**
 * A small curve without axes, for a table.
 * @param {{values: (number | null)[], hue: string, label: string, width?: number, domain?: [number, number]}} props
 */
export function Spark({ values, hue, label, width = 110, domain }) {
  const height = 26;
  const [low, high] = domain ?? extent(values);
  const x = linear([0, Math.max(1, values.length - 1)], [3, width - 5]);
  const y = linear([low, high], [height - 4, 4]);
  const last = values.length - 1;
  const end = values[last];
  return html`
    <svg class="spark" width=${width} height=${height} role="img" aria-label=${label}>
      <path
        style=${{ stroke: `var(${hue})` }}
        d=${pathOf(values.map((value, n) => (value === null ? null : { x: x(n), y: y(value) })))}
      />
      ${
        end !== null &&
        end !== undefined &&
        html`<circle cx=${x(last)} cy=${y(end)} r="2.75" style=${{ fill: `var(${hue})` }} />`
      }
    </svg>
  `;
}
