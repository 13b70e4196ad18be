// How a study's values look: the colour of an arm, outcomes, and differences with their sign.

const HUES = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c8", "--c6", "--c7"];

/** The colour of an arm, in the order of the study. @param {number} place */
export const armHue = (place) => HUES[place % HUES.length];

/** An outcome with three decimals. @param {number | null | undefined} value */
export const outcome = (value) =>
  value === null || value === undefined
    ? "–"
    : value
        .toFixed(3)
        .replace("-", "−")
        .replace(/^−(0\.0+)$/, "$1");

/** A difference with its sign. @param {number | null | undefined} value */
export const difference = (value) =>
  value !== null && value !== undefined && value >= 0.0005 ? `+${outcome(value)}` : outcome(value);
