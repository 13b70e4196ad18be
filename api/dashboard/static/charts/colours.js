// Colours: the hue of an operator, a ramp from low to high, and what a colour of the style sheets is as RGB.

const HUES = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c8", "--c7"];
const KNOWN = [
  "deepening",
  "breadth",
  "constraints",
  "reasoning",
  "concretizing",
  "increased_reasoning",
  "crossover",
  "simplifying",
];

/** The hue of an operator, the same in every view and every run. * @param {string | null} operator */
export function hueOf(operator) {
  if (operator === null) return "--c7";
  const index = KNOWN.indexOf(operator);
  if (index >= 0) return HUES[index % HUES.length];
  let hash = 0;
  for (const letter of operator) hash = (hash * 31 + (letter.codePointAt(0) ?? 0)) >>> 0;
  return HUES[hash % (HUES.length - 1)];
}

/**
 * A colour of the style sheets as the browser computes it, for a canvas.
 * @param {Element} element
 * @param {string} colour
 */
export function computedColour(element, colour) {
  const probe = document.createElement("span");
  probe.style.color = colour;
  element.append(probe);
  const rgb = getComputedStyle(probe).color;
  probe.remove();
  return rgb;
}

const known = /** @type {Map<string, {rgb: string, alpha: number}>} */ (new Map());

/**
 * A computed colour as `#rrggbb` and its opacity, for files: few programs read `oklab()`.
 * @param {string} colour
 */
export function rgbOf(colour) {
  const before = known.get(colour);
  if (before) return before;
  const canvas = new OffscreenCanvas(1, 1);
  const pen = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.fillStyle = colour;
  pen.fillRect(0, 0, 1, 1);
  const [red, green, blue, opacity] = pen.getImageData(0, 0, 1, 1).data;
  const rgb = `#${[red, green, blue].map((part) => part.toString(16).padStart(2, "0")).join("")}`;
  const found = { rgb, alpha: Math.round((1000 * opacity) / 255) / 1000 };
  known.set(colour, found);
  return found;
}

/** Colours from low to high. @param {number} steps */
export const ramp = (steps) =>
  Array.from({ length: steps }, (_, n) => {
    const far = steps > 1 ? (2 * n) / (steps - 1) : 0;
    return far <= 1
      ? `color-mix(in oklab, var(--middle) ${(100 * far).toFixed(0)}%, var(--low))`
      : `color-mix(in oklab, var(--high) ${(100 * (far - 1)).toFixed(0)}%, var(--middle))`;
  });
