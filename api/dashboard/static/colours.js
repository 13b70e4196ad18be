// Colours for a canvas: what the style sheets call them, as the pen takes them.

/** A colour of the style sheets as the browser computes it. @param {Element} place @param {string} colour */
export function computed(place, colour) {
  const probe = document.createElement("span");
  probe.style.color = colour;
  place.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** So many colours from little to much. @param {number} steps */
export const ramp = (steps) =>
  Array.from({ length: steps }, (_, n) => {
    const far = steps > 1 ? (2 * n) / (steps - 1) : 0;
    return far <= 1
      ? `color-mix(in oklab, var(--middle) ${(100 * far).toFixed(0)}%, var(--low))`
      : `color-mix(in oklab, var(--high) ${(100 * (far - 1)).toFixed(0)}%, var(--middle))`;
  });
