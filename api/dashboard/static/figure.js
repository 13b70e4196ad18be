// A chart in its card: what it says, its numbers as a table, and both to take away.
import { html, useRef, useState } from "./ui.js";
import { figure as number } from "./format.js";

/** @typedef {{columns: string[], rows: (string | number | null | undefined)[][]}} Numbers */

/** @param {{title: string, says?: string, name: string, numbers?: () => Numbers, picture?: boolean, children?: unknown}} props */
export function Figure({ title, says, name, numbers, picture = true, children }) {
  const card = useRef(/** @type {HTMLElement | null} */ (null));
  const [open, setOpen] = useState(false);
  const drawn = () => /** @type {SVGSVGElement | null | undefined} */ (card.current?.querySelector(".chart svg"));
  return html`<section class="card" ref=${card} aria-label=${title}>
    <header><h2>${title}</h2>
      ${numbers && html`<span class="aside chart-more">
        <button class="button bare" aria-expanded=${open} onClick=${() => setOpen(!open)}>${open ? "Hide numbers" : "Numbers"}</button>
        <button class="button bare" aria-label=${`${title} as CSV`} onClick=${() => save(`${name}.csv`, new Blob([csvOf(numbers())], { type: "text/csv" }))}>CSV</button>
        ${picture && html`<button class="button bare" aria-label=${`${title} as PNG`} onClick=${() => { const svg = drawn(); if (svg) void savePng(svg, title, `${name}.png`); }}>PNG</button>`}
      </span>`}
      ${says && html`<p>${says}</p>`}
    </header>
    ${children}
    ${open && numbers && html`<${Table} ...${numbers()} />`}
  </section>`;
}

/** @param {Numbers} props */
const Table = ({ columns, rows }) => html`<div class="scroll" tabindex="0" role="region" aria-label="Numbers"><table class="data"><thead><tr>
  ${columns.map((column, n) => html`<th key=${column} scope="col" class=${n ? "number" : ""}>${column}</th>`)}</tr></thead>
  <tbody>${rows.map((row, n) => html`<tr key=${n}>${row.map((value, k) => html`<td key=${k} class=${k ? "number" : ""}>
    ${typeof value === "number" && k ? number(value) : value ?? "–"}</td>`)}</tr>`)}</tbody></table></div>`;

/** RFC 4180; a text that a spreadsheet would take for a formula begins with an apostrophe. @param {Numbers} numbers */
export function csvOf({ columns, rows }) {
  const cell = (/** @type {string | number | null | undefined} */ value) => {
    if (value === null || value === undefined) return "";
    const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [columns, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

/** @param {string} name @param {Blob} blob */
export function save(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const KEPT = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "stroke-linecap", "opacity", "font-size", "font-family"];

/** A copy that looks the same without this page's style sheets. @param {SVGSVGElement} svg */
function standalone(svg) {
  const copy = /** @type {SVGSVGElement} */ (svg.cloneNode(true));
  const originals = svg.querySelectorAll("*");
  copy.querySelectorAll("*").forEach((element, n) => {
    const seen = getComputedStyle(originals[n]);
    element.removeAttribute("style");
    for (const property of KEPT) element.setAttribute(property, seen.getPropertyValue(property));
  });
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("width", String(svg.clientWidth));
  copy.setAttribute("height", String(svg.clientHeight));
  return copy;
}

/** The chart with its title and legend, at twice its size. @param {SVGSVGElement} svg @param {string} title @param {string} name */
async function savePng(svg, title, name) {
  const [width, height, pad] = [svg.clientWidth, svg.clientHeight, 20];
  const address = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(standalone(svg))], { type: "image/svg+xml" }));
  const image = new Image();
  image.src = address;
  await image.decode();
  URL.revokeObjectURL(address);
  const page = getComputedStyle(document.body);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [(width + 2 * pad) * 2, (height + 90) * 2];
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.scale(2, 2);
  pen.fillStyle = getComputedStyle(/** @type {Element} */ (svg.closest(".card"))).backgroundColor;
  pen.fillRect(0, 0, width + 2 * pad, height + 90);
  pen.fillStyle = page.color;
  pen.font = `600 15px ${page.fontFamily}`;
  pen.fillText(title, pad, 28);
  pen.drawImage(image, pad, 42, width, height);
  pen.font = `12px ${page.fontFamily}`;
  let left = pad;
  for (const item of svg.parentElement?.querySelectorAll(".legend li") ?? []) {
    const key = item.querySelector(".key");
    if (key) { pen.fillStyle = getComputedStyle(key).borderTopColor; pen.fillRect(left, height + 62, 12, 4); left += 18; }
    pen.fillStyle = page.color;
    pen.fillText(item.textContent ?? "", left, height + 68);
    left += pen.measureText(item.textContent ?? "").width + 20;
  }
  canvas.toBlob((blob) => { if (blob) save(name, blob); });
}
