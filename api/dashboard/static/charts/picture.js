// Paints a figure as PNG: its drawings, words and legend, each where it is on the page.

const KEPT = [
  "fill",
  "fill-opacity",
  "stroke",
  "stroke-width",
  "stroke-opacity",
  "stroke-dasharray",
  "stroke-linejoin",
  "stroke-linecap",
  "opacity",
  "font-size",
  "font-family",
  "font-weight",
  "visibility",
];
const LEFT_OUT = ".tip, .hidden-but-read, .on-screen, input, select, textarea, label, button:not([aria-pressed=true])";
const [PAD, EDGE, SHARP, LONGEST, LARGEST] = [20, 12, 2, 16_000, 1e8];

/** @typedef {{left: number, top: number, right: number, bottom: number}} Box */
/** @typedef {(pen: CanvasRenderingContext2D) => void} Stroke */
/** @typedef {{box: Box, paint: Stroke, ready?: Promise<unknown>}} Piece */

/**
 * Paints `body` under its title as PNG, including what one would have to scroll to.
 * @param {HTMLElement} body
 * @param {string} title
 * @param {string} of the run or study that it belongs to
 * @returns {Promise<Blob | null>}
 */
export async function pictureOf(body, title, of) {
  body.classList.add("taken");
  const pieces = /** @type {Piece[]} */ ([]);
  collectPieces(body, null, pieces);
  body.classList.remove("taken");
  await Promise.all(pieces.map((piece) => piece.ready));
  const page = getComputedStyle(body);
  const left = Math.min(...pieces.map((piece) => piece.box.left), body.getBoundingClientRect().left);
  const top = Math.min(...pieces.map((piece) => piece.box.top), body.getBoundingClientRect().top);
  const width = Math.max(...pieces.map((piece) => piece.box.right), left + 300) - left + 2 * PAD;
  const height = Math.max(...pieces.map((piece) => piece.box.bottom), top + 1) - top + 3 * PAD + 16;
  const scale = Math.min(SHARP, LONGEST / Math.max(width, height), Math.sqrt(LARGEST / (width * height)));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.ceil(width * scale), Math.ceil(height * scale)];
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.scale(scale, scale);
  pen.fillStyle = getComputedStyle(/** @type {Element} */ (body.closest(".card"))).backgroundColor;
  pen.fillRect(0, 0, width, height);
  pen.fillStyle = page.color;
  pen.font = `600 15px ${page.fontFamily}`;
  pen.fillText(title, PAD, PAD + 12, width - 2 * PAD);
  const room = width - 3 * PAD - Math.min(pen.measureText(title).width, width - 2 * PAD);
  pen.font = `13px ${page.fontFamily}`;
  pen.textAlign = "right";
  if (room > 60) pen.fillText(of, width - PAD, PAD + 12, room);
  pen.textAlign = "left";
  pen.translate(PAD - left, 2 * PAD + 16 - top);
  for (const piece of pieces) {
    pen.save();
    piece.paint(pen);
    pen.restore();
  }
  return new Promise((done) => {
    canvas.toBlob(done);
  });
}

/** @param {Element} element @param {Box | null} clip @param {Piece[]} pieces */
function collectPieces(element, clip, pieces) {
  const style = getComputedStyle(element);
  if (element.matches(LEFT_OUT) || style.display === "none" || style.visibility === "hidden") return;
  const box = element.getBoundingClientRect();
  if (element instanceof SVGSVGElement) return void pieces.push(svgPiece(element, box));
  if (element instanceof HTMLCanvasElement)
    return void pieces.push({
      box,
      paint: (pen) => {
        if (box.width) pen.drawImage(element, box.left, box.top, box.width, box.height);
      },
    });
  const inner = style.overflowX === "hidden" ? intersection(box, clip) : clip;
  const framed = framePiece(style, box, inner);
  if (framed) pieces.push(framed);
  const marked = keyPiece(element, box);
  if (marked) pieces.push(marked);
  for (const node of element.childNodes) {
    if (node instanceof Element) collectPieces(node, inner, pieces);
    else if (node.nodeType === Node.TEXT_NODE) wordPieces(/** @type {Text} */ (node), style, inner, pieces);
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

/** @param {CanvasRenderingContext2D} pen @param {Box} box @param {number} [radius] */
function trace(pen, box, radius = 0) {
  pen.beginPath();
  pen.roundRect(box.left, box.top, Math.max(0, box.right - box.left), Math.max(0, box.bottom - box.top), radius);
}

/**
 * Turns an SVG into an image that looks the same without this page's style sheets, with a margin for what sticks out.
 * @param {SVGSVGElement} svg
 * @param {DOMRect} box
 * @returns {Piece}
 */
function svgPiece(svg, box) {
  const copy = /** @type {SVGSVGElement} */ (svg.cloneNode(true));
  const originals = svg.querySelectorAll("*");
  copy.querySelectorAll("*").forEach((element, n) => {
    const style = getComputedStyle(originals[n]);
    element.removeAttribute("style");
    for (const property of KEPT) element.setAttribute(property, style.getPropertyValue(property));
  });
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const [width, height] = [box.width + 2 * EDGE, box.height + 2 * EDGE];
  const { x, y } = svg.viewBox.baseVal ?? { x: 0, y: 0 };
  copy.setAttribute("width", String(width));
  copy.setAttribute("height", String(height));
  copy.setAttribute("viewBox", `${x - EDGE} ${y - EDGE} ${width} ${height}`);
  const address = URL.createObjectURL(
    new Blob([new XMLSerializer().serializeToString(copy)], { type: "image/svg+xml" }),
  );
  const image = new Image();
  image.src = address;
  const ready = image.decode().finally(() => URL.revokeObjectURL(address));
  return { box, ready, paint: (pen) => pen.drawImage(image, box.left - EDGE, box.top - EDGE, width, height) };
}

/**
 * Paints the background and the borders of an element.
 * @param {CSSStyleDeclaration} style
 * @param {DOMRect} box
 * @param {Box | null} clip
 * @returns {Piece | null}
 */
function framePiece(style, box, clip) {
  const ground = style.backgroundColor;
  const above = style.borderTopStyle === "none" ? 0 : parseFloat(style.borderTopWidth);
  const below = style.borderBottomStyle === "none" ? 0 : parseFloat(style.borderBottomWidth);
  const around = above > 0 && style.borderLeftStyle !== "none" && parseFloat(style.borderLeftWidth) > 0;
  if (isTransparent(ground) && !above && !below) return null;
  return {
    box: clip ? intersection(box, clip) : box,
    paint: (pen) => {
      pen.globalAlpha = Number(style.opacity);
      trace(pen, box, parseFloat(style.borderTopLeftRadius) || 0);
      pen.fillStyle = ground;
      pen.fill();
      if (around) {
        pen.lineWidth = above;
        pen.strokeStyle = style.borderTopColor;
        pen.stroke();
        return;
      }
      pen.fillStyle = style.borderTopColor;
      pen.fillRect(box.left, box.top, box.width, above);
      pen.fillStyle = style.borderBottomColor;
      pen.fillRect(box.left, box.bottom - below, box.width, below);
    },
  };
}

/** @param {string} colour */
const isTransparent = (colour) => colour === "transparent" || /, 0\)$|\/ 0\)$/.test(colour);

/** Paints the colour key in front of a name. @param {Element} element @param {DOMRect} box @returns {Piece | null} */
function keyPiece(element, box) {
  const before = getComputedStyle(element, "::before");
  if (before.content === "none" || isTransparent(before.backgroundColor)) return null;
  const [width, height] = [parseFloat(before.width), parseFloat(before.height)];
  const at = {
    left: box.left,
    right: box.left + width,
    top: (box.top + box.bottom - height) / 2,
    bottom: (box.top + box.bottom + height) / 2,
  };
  return {
    box: at,
    paint: (pen) => {
      trace(pen, at, 2);
      pen.fillStyle = before.backgroundColor;
      pen.fill();
    },
  };
}

/** @param {Text} text @param {CSSStyleDeclaration} style @param {Box | null} clip @param {Piece[]} pieces */
function wordPieces(text, style, clip, pieces) {
  for (const word of text.data.matchAll(/\S+/g)) {
    const range = document.createRange();
    range.setStart(text, word.index);
    range.setEnd(text, word.index + word[0].length);
    const box = range.getBoundingClientRect();
    if (!box.width) continue;
    pieces.push({
      box: clip ? intersection(box, clip) : box,
      paint: (pen) => {
        if (clip) {
          trace(pen, clip);
          pen.clip();
        }
        pen.globalAlpha = Number(style.opacity);
        pen.fillStyle = style.color;
        pen.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
        pen.textBaseline = "middle";
        pen.fillText(word[0], box.left, (box.top + box.bottom) / 2 + 1);
      },
    });
  }
}
