// Makes characters visible that hide something in a text: those that turn the direction of writing, those without
// width, and control characters. `ui.js` puts it in front of all markup, so that no view has to think of it.

const HIDDEN = new RegExp(
  "([\\u0000-\\u0008\\u000B\\u000C\\u000E-\\u001F\\u007F-\\u009F\\u00AD\\u061C\\u115F\\u1160\\u180E" +
    "\\u200B\\u200E\\u200F\\u2028-\\u202E\\u2060-\\u206F\\u3164\\uFEFF\\uFFA0]|[\\u{E0000}-\\u{E007F}]" +
    // joiners within letters and emoji are part of the writing
    "|(?<![\\p{L}\\p{M}\\p{Extended_Pictographic}\\uFE0F])[\\u200C\\u200D])",
  "u",
);
/** Elements that hold nothing but text, in which no other element can mark a character. */
const ONLY_TEXT = new Set(["option", "text", "textarea", "title", "tspan"]);
/** Attributes that are shown to people. */
const READ = ["alt", "aria-label", "label", "placeholder", "title"];

/** @param {string} character */
const codeOf = (character) =>
  `U+${/** @type {number} */ (character.codePointAt(0)).toString(16).toUpperCase().padStart(4, "0")}`;

/** A text with the codes of its hidden characters in their places. @param {string} text */
export const withCodes = (text) =>
  HIDDEN.test(text)
    ? text
        .split(HIDDEN)
        .map((part, n) => (n % 2 ? `⟨${codeOf(part)}⟩` : part))
        .join("")
    : text;

/** @typedef {(type: any, props: any, ...children: any[]) => any} MakeElement */

/**
 * Makes elements as `h` does, with the hidden characters of their texts marked. The style sheet draws the code of a
 * marked character, so that copied text stays as it is.
 * @param {MakeElement} h
 * @returns {MakeElement}
 */
export const marking =
  (h) =>
  (type, props, ...children) => {
    if (typeof type !== "string") return h(type, props, ...children);
    const inText = ONLY_TEXT.has(type);
    /** @type {(child: any) => any} */
    const seen = (child) => {
      if (Array.isArray(child)) return child.map(seen);
      if (typeof child !== "string" || !HIDDEN.test(child)) return child;
      return inText ? withCodes(child) : child.split(HIDDEN).map((part, n) => (n % 2 ? mark(h, part) : part));
    };
    return h(type, readable(props), ...children.map(seen));
  };

/** @param {MakeElement} h @param {string} character */
const mark = (h, character) =>
  h(
    "span",
    { class: "hidden-character", "data-code": codeOf(character), title: "A character that is not seen" },
    character,
  );

/** @param {Record<string, any> | null} props */
function readable(props) {
  for (const name of READ) {
    const value = props?.[name];
    if (typeof value === "string" && HIDDEN.test(value)) props = { ...props, [name]: withCodes(value) };
  }
  return props;
}
