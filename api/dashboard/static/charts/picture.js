// Draws a figure as an SVG that needs nothing else: its drawings, words and legend, each where it is on the page, in
// the colours of the theme. A PNG is painted from the same SVG.
import { rgbOf } from "./colours.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
/** What style sheets decide about an element of a drawing; all but the opacity is inherited. */
const KEPT = [
  "fill",
  "fill-opacity",
  "stroke",
  "stroke-width",
  "stroke-opacity",
  "stroke-dasharray",
  "stroke-linejoin",
  "stroke-linecap",
  "font-size",
  "font-family",
  "font-weight",
  "text-anchor",
  "visibility",
];
const DROPPED = ["class", "style", "tabindex", "role", "aria-label", "aria-hidden"];
const LEFT_OUT = ".tip, .hidden-but-read, .on-screen, input, select, textarea, label, button:not([aria-pressed=true])";
const [PAD, EDGE, SHARP, LONGEST, LARGEST] = [20, 12, 2, 16_000, 1e8];

/** @typedef {{left: number, top: number, right: number, bottom: number}} Box */
/** @typedef {{box: Box, node: SVGElement}} Piece */
/** @typedef {{pieces: Piece[], clips: Map<Box, string>}} Drawing */

/**
 * Paints `body` under its title as PNG, including what one would have to scroll to.
 * @param {HTMLElement} body
 * @param {string} title
 * @param {string} of the run or study that it belongs to
 * @returns {Promise<Blob | null>}
 */
export async function pictureOf(body, title, of) {
  const { svg, width, height } = drawingOf(body, title, of);
  const scale = Math.min(SHARP, LONGEST / Math.max(width, height), Math.sqrt(LARGEST / (width * height)));
  const address = URL.createObjectURL(blobOf(svg));
  const image = new Image();
  image.src = address;
  await image.decode().finally(() => URL.revokeObjectURL(address));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.ceil(width * scale), Math.ceil(height * scale)];
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.drawImage(image, 0, 0, width * scale, height * scale);
  return new Promise((done) => {
    canvas.toBlob(done);
  });
}

/**
 * The same as an SVG file.
 * @param {HTMLElement} body
 * @param {string} title
 * @param {string} of
 */
export const vectorOf = (body, title, of) => blobOf(drawingOf(body, title, of).svg);

/** @param {SVGElement} svg */
const blobOf = (svg) => new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" });

/**
 * @param {string} name
 * @param {Record<string, string | number | null | undefined>} [attributes] without those that are null
 * @param {...(Node | string)} children
 */
function make(name, attributes = {}, ...children) {
  const element = /** @type {SVGElement} */ (document.createElementNS(NAMESPACE, name));
  for (const [key, value] of Object.entries(attributes))
    if (value !== null && value !== undefined) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

/** @param {HTMLElement} body @param {string} title @param {string} of */
function drawingOf(body, title, of) {
  const drawing = /** @type {Drawing} */ ({ pieces: [], clips: new Map() });
  body.classList.add("taken");
  collectPieces(body, null, drawing);
  const { pieces, clips } = drawing;
  const frame = body.getBoundingClientRect();
  body.classList.remove("taken");
  const left = Math.min(...pieces.map((piece) => piece.box.left), frame.left);
  const top = Math.min(...pieces.map((piece) => piece.box.top), frame.top);
  const width = Math.ceil(Math.max(...pieces.map((piece) => piece.box.right), left + 300) - left + 2 * PAD);
  const height = Math.ceil(Math.max(...pieces.map((piece) => piece.box.bottom), top + 1) - top + 3 * PAD + 16);
  const svg = make(
    "svg",
    { width, height, viewBox: `0 0 ${width} ${height}`, role: "img" },
    make("title", {}, of ? `${title} – ${of}` : title),
    make("defs", {}, ...[...clips].map(([box, id]) => make("clipPath", { id }, make("rect", placeOf(box))))),
    make("rect", { width, height, ...paint("fill", backgroundOf(body)) }),
    ...heading(title, of, width, getComputedStyle(body)),
    make("g", { transform: `translate(${PAD - left} ${2 * PAD + 16 - top})` }, ...pieces.map((piece) => piece.node)),
  );
  return { svg, width, height };
}

/** @param {HTMLElement} body */
const backgroundOf = (body) => getComputedStyle(/** @type {Element} */ (body.closest(".card"))).backgroundColor;

/** The title, and at the right the run's name, as far as there is room. */
function heading(
  /** @type {string} */ title,
  /** @type {string} */ of,
  /** @type {number} */ width,
  /** @type {CSSStyleDeclaration} */ page,
) {
  const pen = /** @type {CanvasRenderingContext2D} */ (document.createElement("canvas").getContext("2d"));
  const line = (
    /** @type {string} */ words,
    /** @type {number} */ size,
    /** @type {number} */ weight,
    /** @type {number} */ room,
    /** @type {Record<string, string | number>} */ place,
  ) => {
    pen.font = `${weight} ${size}px ${page.fontFamily}`;
    const long = pen.measureText(words).width;
    const squeezed = long > room ? { textLength: room, lengthAdjust: "spacingAndGlyphs" } : {};
    const font = { "font-size": size, "font-weight": weight, "font-family": page.fontFamily };
    const text = make("text", { ...place, y: PAD + 12, ...font, ...paint("fill", page.color), ...squeezed }, words);
    return { text, taken: Math.min(long, room) };
  };
  const { text, taken } = line(title, 15, 600, width - 2 * PAD, { x: PAD });
  const room = width - 3 * PAD - taken;
  return of && room > 60 ? [text, line(of, 13, 400, room, { x: width - PAD, "text-anchor": "end" }).text] : [text];
}

/** A colour of the page as every program reads it. @param {string} name @param {string} colour */
function paint(name, colour) {
  if (colour === "none" || colour.startsWith("url(")) return { [name]: colour };
  const { rgb, alpha } = rgbOf(colour);
  return { [name]: rgb, [`${name}-opacity`]: alpha < 1 ? alpha : null };
}

/** @param {Box} box */
const placeOf = (box) => ({
  x: round(box.left),
  y: round(box.top),
  width: round(Math.max(0, box.right - box.left)),
  height: round(Math.max(0, box.bottom - box.top)),
});

/** @param {number} value */
const round = (value) => Math.round(100 * value) / 100;

/** @param {Element} element @param {Box | null} clip @param {Drawing} drawing */
function collectPieces(element, clip, drawing) {
  const style = getComputedStyle(element);
  if (element.matches(LEFT_OUT) || style.display === "none" || style.visibility === "hidden") return;
  const box = element.getBoundingClientRect();
  const add = (/** @type {Box} */ at, /** @type {SVGElement} */ node) =>
    drawing.pieces.push({ box: clip ? intersection(at, clip) : at, node });
  if (element instanceof SVGSVGElement) return void add(box, drawn(element, box));
  if (element instanceof HTMLCanvasElement)
    return void (box.width && add(box, make("image", { ...placeOf(box), href: element.toDataURL() })));
  const inner = style.overflowX === "hidden" ? intersection(box, clip) : clip;
  for (const node of frames(style, box)) add(box, node);
  const marked = colourKey(element, box);
  if (marked) add(marked.box, marked.node);
  for (const node of element.childNodes) {
    if (node instanceof Element) collectPieces(node, inner, drawing);
    else if (node.nodeType === Node.TEXT_NODE) addWords(/** @type {Text} */ (node), style, inner, drawing);
  }
}

/** @param {Box} box @param {Box | null} clip @returns {Box} */
const intersection = (box, clip) =>
  !clip
    ? box
    : {
        left: Math.max(box.left, clip.left),
        top: Math.max(box.top, clip.top),
        right: Math.min(box.right, clip.right),
        bottom: Math.min(box.bottom, clip.bottom),
      };

/**
 * A copy of a drawing that looks the same without this page's style sheets, with a margin for what sticks out.
 * @param {SVGSVGElement} svg
 * @param {DOMRect} box
 */
function drawn(svg, box) {
  const copy = /** @type {SVGSVGElement} */ (svg.cloneNode(true));
  const [originals, copies] = [svg, copy].map((root) => [root, ...root.querySelectorAll("*")]);
  copies.forEach((element, n) => {
    const [style, above] = [originals[n], originals[n].parentElement].map((each) => each && getComputedStyle(each));
    const outer = n ? above : null;
    if (style?.display === "none") return void element.remove();
    for (const name of DROPPED) element.removeAttribute(name);
    for (const name of KEPT) {
      element.removeAttribute(name);
      const value = style?.getPropertyValue(name) ?? "";
      if (value === outer?.getPropertyValue(name)) continue;
      const colours = name === "fill" || name === "stroke" ? paint(name, value) : { [name]: value };
      for (const [key, text] of Object.entries(colours)) if (text !== null) element.setAttribute(key, String(text));
    }
    if (style && style.opacity !== "1") element.setAttribute("opacity", style.opacity);
  });
  const [width, height] = [box.width + 2 * EDGE, box.height + 2 * EDGE];
  const { x, y } = svg.viewBox.baseVal ?? { x: 0, y: 0 };
  copy.setAttribute("viewBox", `${x - EDGE} ${y - EDGE} ${width} ${height}`);
  for (const [name, value] of Object.entries({ x: box.left - EDGE, y: box.top - EDGE, width, height }))
    copy.setAttribute(name, String(round(value)));
  return copy;
}

/** The background and the borders of an element. @param {CSSStyleDeclaration} style @param {DOMRect} box */
function frames(style, box) {
  const ground = style.backgroundColor;
  const above = style.borderTopStyle === "none" ? 0 : parseFloat(style.borderTopWidth);
  const below = style.borderBottomStyle === "none" ? 0 : parseFloat(style.borderBottomWidth);
  const around = above > 0 && style.borderLeftStyle !== "none" && parseFloat(style.borderLeftWidth) > 0;
  const opacity = style.opacity === "1" ? null : style.opacity;
  const nodes = /** @type {SVGElement[]} */ ([]);
  if (!isTransparent(ground) || around)
    nodes.push(
      make("rect", {
        ...placeOf(box),
        rx: parseFloat(style.borderTopLeftRadius) || null,
        ...(isTransparent(ground) ? { fill: "none" } : paint("fill", ground)),
        ...(around ? { ...paint("stroke", style.borderTopColor), "stroke-width": above } : {}),
        opacity,
      }),
    );
  if (around) return nodes;
  for (const [thick, top, colour] of /** @type {[number, number, string][]} */ ([
    [above, box.top, style.borderTopColor],
    [below, box.bottom - below, style.borderBottomColor],
  ]))
    if (thick)
      nodes.push(
        make("rect", { ...placeOf({ ...edges(box), top, bottom: top + thick }), ...paint("fill", colour), opacity }),
      );
  return nodes;
}

/** @param {DOMRect} box @returns {Box} */
const edges = ({ left, top, right, bottom }) => ({ left, top, right, bottom });

/** @param {string} colour */
const isTransparent = (colour) => rgbOf(colour).alpha === 0;

/** The colour key in front of a name. @param {Element} element @param {DOMRect} box @returns {Piece | null} */
function colourKey(element, box) {
  const before = getComputedStyle(element, "::before");
  if (before.content === "none" || isTransparent(before.backgroundColor)) return null;
  const [width, height] = [parseFloat(before.width), parseFloat(before.height)];
  const at = {
    left: box.left,
    right: box.left + width,
    top: (box.top + box.bottom - height) / 2,
    bottom: (box.top + box.bottom + height) / 2,
  };
  return { box: at, node: make("rect", { ...placeOf(at), rx: 2, ...paint("fill", before.backgroundColor) }) };
}

/** @param {Text} text @param {CSSStyleDeclaration} style @param {Box | null} clip @param {Drawing} drawing */
function addWords(text, style, clip, { pieces, clips }) {
  if (clip && !clips.has(clip)) clips.set(clip, `clip-${clips.size}`);
  for (const word of text.data.matchAll(/\S+/g)) {
    const range = document.createRange();
    range.setStart(text, word.index);
    range.setEnd(text, word.index + word[0].length);
    const box = range.getBoundingClientRect();
    if (!box.width) continue;
    const place = { x: round(box.left), y: round((box.top + box.bottom) / 2 + 0.35 * parseFloat(style.fontSize)) };
    const font = { "font-size": style.fontSize, "font-weight": style.fontWeight, "font-family": style.fontFamily };
    const shown = { ...place, ...font, ...paint("fill", style.color) };
    const opacity = style.opacity === "1" ? null : style.opacity;
    // a clip is in the coordinates of what it clips, which has none of its own
    const cut = clip ? `url(#${clips.get(clip)})` : null;
    pieces.push({
      box: clip ? intersection(box, clip) : box,
      node: make("text", { ...shown, opacity, "clip-path": cut }, word[0]),
    });
  }
}
