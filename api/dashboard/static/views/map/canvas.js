// Draws the map on a canvas, which copes with thousands of prompts, and handles pointer and keyboard.
import { html, useEffect, useMemo, useRef, useState } from "../../ui.js";
import { computedColour } from "../../charts/colours.js";
import { useWidth } from "../../charts/plot.js";
import { bornIn, figure } from "../../parts/format.js";

/** @typedef {import("./map.js").PromptMap} PromptMap */
/** @typedef {import("./map.js").Area} Area */

const [PAD, TALLEST, REACH, CLICK, SIDE, STEP] = [10, 640, 14, 5, 0.2, 0.02];
/** @type {Record<string, [number, number]>} */
const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/**
 * @param {{label: string, map: PromptMap, paint: import("./map.js").Paint, area: Area | null,
 *   select: (area: Area | null) => void, open: (n: number) => void, enter: () => void}} props
 */
export function MapCanvas({ label, map, paint, area, select, open, enter }) {
  const [box, width] = useWidth();
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const [at, setAt] = useState(/** @type {number | null} */ (null));
  const [dragged, setDragged] = useState(/** @type {{from: [number, number], to: [number, number]} | null} */ (null));
  const theme = useTheme();
  const size = Math.min(width, TALLEST);
  const left = (width - size) / 2;
  const place = useMemo(
    () => ({
      x: (/** @type {number} */ v) => left + PAD + v * (size - 2 * PAD),
      y: (/** @type {number} */ v) => size - PAD - v * (size - 2 * PAD),
    }),
    [size, left],
  );
  const shown = dragged ? between(dragged.from, dragged.to) : area;
  useEffect(() => {
    if (canvas.current) draw(canvas.current, map, paint, place, width, size);
  }, [map, paint, place, width, size, theme]);

  const spot = (/** @type {PointerEvent} */ event) => {
    const frame = /** @type {Element} */ (event.currentTarget).getBoundingClientRect();
    return /** @type {[number, number]} */ ([event.clientX - frame.left, event.clientY - frame.top]);
  };
  const value = (/** @type {[number, number]} */ [across, down]) =>
    /** @type {[number, number]} */ ([
      (across - left - PAD) / (size - 2 * PAD),
      (size - PAD - down) / (size - 2 * PAD),
    ]);
  const onPointerMove = (/** @type {PointerEvent} */ event) => {
    const here = spot(event);
    if (dragged) setDragged({ ...dragged, to: value(here) });
    else setAt(nearest(map, place, here));
  };
  const onPointerDown = (/** @type {PointerEvent} */ event) => {
    if (event.button) return;
    /** @type {Element} */ (event.currentTarget).setPointerCapture(event.pointerId);
    setDragged({ from: value(spot(event)), to: value(spot(event)) });
  };
  const onPointerUp = (/** @type {PointerEvent} */ event) => {
    if (!dragged) return;
    const [from, to] = [dragged.from, value(spot(event))];
    const distance = Math.hypot(to[0] - from[0], to[1] - from[1]) * size;
    setDragged(null);
    if (distance > CLICK) select(between(from, to));
    else {
      const n = nearest(map, place, spot(event));
      if (n !== null) open(n);
    }
  };
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    const direction = WAYS[event.key];
    if (!direction && !["Enter", "Escape"].includes(event.key)) return;
    event.preventDefault();
    if (event.key === "Enter") enter();
    else if (event.key === "Escape") select(null);
    else select(stepped(area, direction, event.shiftKey));
  };
  return html`
    <div
      class="chart plane"
      ref=${box}
      style=${{ height: `${size}px` }}
      role="application"
      aria-label=${label}
      tabindex="0"
      onKeyDown=${onKeyDown}
      onPointerMove=${onPointerMove}
      onPointerDown=${onPointerDown}
      onPointerUp=${onPointerUp}
      onPointerLeave=${() => setAt(null)}
      onPointerCancel=${() => setDragged(null)}
    >
      <canvas ref=${canvas} aria-hidden="true" />
      ${
        shown &&
        html`
          <div
            class="area"
            style=${{
              left: `${place.x(shown.left)}px`,
              top: `${place.y(shown.high)}px`,
              width: `${place.x(shown.right) - place.x(shown.left)}px`,
              height: `${place.y(shown.low) - place.y(shown.high)}px`,
            }}
          />
        `
      }
      ${
        at !== null &&
        !dragged &&
        html`
          <${Tip} map=${map} at=${at} x=${place.x(map.x[at])} y=${place.y(map.y[at])} width=${width} height=${size} />
        `
      }
    </div>
  `;
}

/** Returns a number that changes with the theme, so that the canvas is repainted. */
function useTheme() {
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const changed = () => setTurn((n) => n + 1);
    const observer = new MutationObserver(changed);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    observer.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    dark.addEventListener("change", changed);
    return () => {
      observer.disconnect();
      dark.removeEventListener("change", changed);
    };
  }, []);
  return turn;
}

/** @param {[number, number]} from @param {[number, number]} to @returns {Area} */
function between(from, to) {
  const [a, b] = [from, to].map((corner) => corner.map((part) => Math.min(1, Math.max(0, part))));
  return {
    left: Math.min(a[0], b[0]),
    low: Math.min(a[1], b[1]),
    right: Math.max(a[0], b[0]),
    high: Math.max(a[1], b[1]),
  };
}

/**
 * Moves an area, or with `sized` moves its right and upper edges.
 * @param {Area | null} area
 * @param {[number, number]} way
 * @param {boolean} sized
 * @returns {Area}
 */
function stepped(area, [across, up], sized) {
  if (!area) return { left: 0.5 - SIDE / 2, low: 0.5 - SIDE / 2, right: 0.5 + SIDE / 2, high: 0.5 + SIDE / 2 };
  const inside = (/** @type {number} */ part, /** @type {number} */ low, /** @type {number} */ high) =>
    Math.min(high, Math.max(low, part));
  if (sized)
    return {
      ...area,
      right: inside(area.right + across * STEP, area.left + STEP, 1),
      high: inside(area.high + up * STEP, area.low + STEP, 1),
    };
  const [x, y] = [inside(across * STEP, -area.left, 1 - area.right), inside(up * STEP, -area.low, 1 - area.high)];
  return { left: area.left + x, low: area.low + y, right: area.right + x, high: area.high + y };
}

/**
 * Finds the prompt under the pointer, or near it.
 * @param {PromptMap} map
 * @param {{x: (v: number) => number, y: (v: number) => number}} place
 * @param {[number, number]} spot
 */
function nearest(map, place, [across, down]) {
  let [best, least] = [/** @type {number | null} */ (null), REACH ** 2];
  for (let n = map.numbers.length - 1; n >= 0; n -= 1) {
    const distance = (place.x(map.x[n]) - across) ** 2 + (place.y(map.y[n]) - down) ** 2;
    if (distance < least) {
      best = n;
      least = distance;
    }
  }
  return best;
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {PromptMap} map
 * @param {import("./map.js").Paint} paint
 * @param {{x: (v: number) => number, y: (v: number) => number}} place
 * @param {number} width
 * @param {number} height
 */
function draw(canvas, map, paint, place, width, height) {
  const sharp = devicePixelRatio || 1;
  [canvas.width, canvas.height] = [Math.round(width * sharp), Math.round(height * sharp)];
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.scale(sharp, sharp);
  const colours = paint.keys.map((key) => computedColour(/** @type {Element} */ (canvas.parentElement), key.colour));
  const radius = map.numbers.length > 4000 ? 1.8 : map.numbers.length > 800 ? 2.6 : 3.6;
  pen.globalAlpha = 0.75;
  map.numbers.forEach((_, n) => {
    pen.fillStyle = colours[paint.of[n]];
    pen.beginPath();
    pen.arc(place.x(map.x[n]), place.y(map.y[n]), radius, 0, 2 * Math.PI);
    pen.fill();
  });
}

/** @param {{map: PromptMap, at: number, x: number, y: number, width: number, height: number}} props */
function Tip({ map, at, x, y, width, height }) {
  const operator = map.operator[at];
  const side = x > width / 2 ? { right: `${width - x + 12}px` } : { left: `${x + 12}px` };
  return html`
    <div class="ringed" style=${{ left: `${x}px`, top: `${y}px` }} />
    <div
      class="tip"
      style=${{ ...side, ...(y > height / 2 ? { bottom: `${height - y + 8}px` } : { top: `${y + 8}px` }) }}
    >
      <b>Prompt ${map.numbers[at]}</b>
      <div class="soft">
        ${operator === null ? "seed" : map.operators[operator]} · ${bornIn(map.born[at])} · info ${figure(map.info[at])}
      </div>
      <div>${map.starts[at]}</div>
    </div>
  `;
}
