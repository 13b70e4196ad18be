// Text of models and users, with the characters that hide something made visible: those that turn the direction of
// writing, and those without width.
import { html } from "../ui.js";

const HIDDEN = new RegExp(
  "([\\u00AD\\u061C\\u115F\\u1160\\u180E\\u200B\\u200E\\u200F\\u2028-\\u202E\\u2060-\\u206F\\u3164\\uFEFF\\uFFA0]" +
    "|[\\u{E0000}-\\u{E007F}]" +
    // joiners within letters and emoji are part of the writing
    "|(?<![\\p{L}\\p{M}\\p{Extended_Pictographic}\\uFE0F])[\\u200C\\u200D])",
  "u",
);

/** @param {string} character */
const codeOf = (character) =>
  `U+${/** @type {number} */ (character.codePointAt(0)).toString(16).toUpperCase().padStart(4, "0")}`;

/**
 * Every other part is a hidden character. Its code is drawn by the style sheet, so that copied text stays as it is.
 * @param {{value: string}} props
 */
export function Text({ value }) {
  const parts = value.split(HIDDEN);
  if (parts.length === 1) return value;
  return parts.map((part, n) =>
    n % 2
      ? html`
        <span key=${n} class="hidden-character" data-code=${codeOf(part)} title="A character that is not seen">
          ${part}
        </span>
      `
      : part,
  );
}
