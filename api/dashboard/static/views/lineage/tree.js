// Draws a family tree from left to right; the arrow keys walk through it.
import { html, useEffect, useMemo, useRef } from "../../ui.js";
import { hueOf } from "../../charts/colours.js";
import { figure } from "../../parts/format.js";
import { hierarchy, tree } from "../../vendor/d3-hierarchy.js";

/** @typedef {import("./family.js").TreeNode} TreeNode */
/** @typedef {import("../../vendor/d3-hierarchy.js").Placed<TreeNode>} Placed */

const ROW = 24;
const COLUMN = 160;
const PAD = 18;
const PALEST = 22;

/**
 * @param {{shown: TreeNode, focus: number | null, selected: number | null, select: (n: number) => void,
 *   turn: (n: number) => void, more: (n: number) => void, open: (n: number) => void}} props
 */
export function Tree({ shown, focus, selected, select, turn, more, open }) {
  const frame = useRef(/** @type {HTMLElement | null} */ (null));
  const placed = useMemo(() => tree().nodeSize([ROW, COLUMN])(hierarchy(shown, (node) => node.inner)), [shown]);
  const nodes = /** @type {Placed[]} */ (placed.descendants());
  const top = Math.min(...nodes.map((node) => node.x));
  const height = Math.max(...nodes.map((node) => node.x)) - top + 2 * PAD + ROW;
  const width = Math.max(...nodes.map((node) => node.y)) + COLUMN + 2 * PAD;
  const most = Math.max(1e-9, ...nodes.map((node) => (node.data.kind === "prompt" ? (node.data.prompt.info ?? 0) : 0)));
  const inOrder = [...nodes].sort((a, b) => a.x - b.x || a.y - b.y);
  useEffect(() => {
    const here = frame.current?.querySelector(`[data-number="${focus}"]`);
    if (!here || !frame.current) return;
    const box = frame.current.getBoundingClientRect();
    const at = here.getBoundingClientRect();
    frame.current.scrollBy({ left: at.left - box.left - box.width * 0.6, top: at.top - box.top - box.height / 2 });
  }, [focus, shown.inner.length]);
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    const index = inOrder.findIndex((node) => node.data.kind === "prompt" && node.data.number === selected);
    const current = inOrder[index];
    const act = () => {
      switch (event.key) {
        case "ArrowDown":
          return step(index, 1);
        case "ArrowUp":
          return step(index, -1);
        case "ArrowRight":
          return current?.data.kind === "prompt" && !current.data.open && current.data.hidden
            ? turn(current.data.number)
            : inner(current);
        case "ArrowLeft":
          return current?.data.kind === "prompt" && current.data.open && current.data.inner.length
            ? turn(current.data.number)
            : pick(current?.parent);
        case "Enter":
          return current && open(current.data.number);
        default:
          return undefined;
      }
    };
    if (["ArrowDown", "ArrowUp", "ArrowRight", "ArrowLeft", "Enter"].includes(event.key)) {
      event.preventDefault();
      act();
    }
  };
  const pick = (/** @type {Placed | null | undefined} */ node) => {
    if (node?.data.kind !== "prompt") return;
    select(node.data.number);
    frame.current
      ?.querySelector(`[data-number="${node.data.number}"]`)
      ?.scrollIntoView({ block: "nearest", inline: "nearest" });
  };
  const inner = (/** @type {Placed | undefined} */ node) =>
    pick(node?.children?.find((child) => child.data.kind === "prompt"));
  const step = (/** @type {number} */ index, /** @type {number} */ by) => {
    for (let next = index + by; inOrder[next]; next += by)
      if (inOrder[next].data.kind === "prompt") return pick(inOrder[next]);
    return undefined;
  };
  return html`
    <div
      class="tree-frame"
      ref=${frame}
      tabindex="0"
      role="tree"
      aria-label="Family tree"
      aria-activedescendant=${selected === null ? undefined : `prompt-${selected}`}
      onKeyDown=${onKeyDown}
    >
      <svg
        class="tree"
        width=${width}
        height=${height}
        viewBox=${`${-PAD} ${top - PAD - ROW / 2} ${width} ${height}`}
        role="presentation"
      >
        ${placed.links().map(
          ({ source, target }) => html`
            <path key=${key(/** @type {Placed} */ (target))} class="branch" d=${branchOf(source, target)} />
          `,
        )}
        ${nodes.map((node) =>
          node.data.kind === "more"
            ? html`
              <g
                key=${key(node)}
                class="more"
                transform=${`translate(${node.y} ${node.x})`}
                onClick=${() => more(node.data.number)}
              >
                <text dy=".32em">+ ${node.data.count} more</text>
              </g>
            `
            : html`
              <${Node}
                key=${key(node)}
                node=${node}
                data=${node.data}
                most=${most}
                selected=${node.data.number === selected}
                select=${select}
                turn=${turn}
                open=${open}
              />
            `,
        )}
      </svg>
    </div>
  `;
}

/** @param {{x: number, y: number}} source @param {{x: number, y: number}} target */
const branchOf = (source, target) => {
  const [from, to] = [source.y + COLUMN / 2, target.y - COLUMN / 2];
  return `M${source.y} ${source.x}C${from} ${source.x} ${to} ${target.x} ${target.y} ${target.x}`;
};

/** @param {Placed} node */
const key = (node) => (node.data.kind === "more" ? `more ${node.data.number}` : node.data.number);

/**
 * @param {{node: Placed, data: import("./family.js").PromptNode, most: number, selected: boolean,
 *   select: (n: number) => void, turn: (n: number) => void, open: (n: number) => void}} props
 */
function Node({ node, data, most, selected, select, turn, open }) {
  const { prompt } = data;
  const hue = `var(${hueOf(prompt.operator)})`;
  const strength =
    prompt.info === null ? PALEST : PALEST + (100 - PALEST) * Math.max(0, Math.min(1, prompt.info / most));
  const trained = prompt.batches.length > 0;
  return html`
    <g
      id=${`prompt-${prompt.number}`}
      data-number=${prompt.number}
      class=${selected ? "node selected" : "node"}
      transform=${`translate(${node.y} ${node.x})`}
      role="treeitem"
      aria-level=${node.depth + 1}
      aria-selected=${selected}
      aria-expanded=${prompt.children ? data.open : undefined}
      onClick=${() => select(prompt.number)}
      onDblClick=${() => open(prompt.number)}
    >
      <title>
        ${prompt.operator ?? "seed"}
        ${trained ? ", was in a batch" : ""}
        ${prompt.children ? `, ${prompt.children} children` : ""}
      </title>
      <rect class="back" x="-11" y="-11" width="134" height="22" rx="11" />
      ${trained && html`<circle class="ring" r="8.5" style=${{ stroke: hue }} />`}
      <circle
        r="5.5"
        style=${{ fill: `color-mix(in oklab, ${hue} ${strength.toFixed(0)}%, var(--paper))`, stroke: hue }}
      />
      <text x="14" dy=".32em">#${prompt.number} <tspan class="info" dx="3">${figure(prompt.info)}</tspan></text>
      ${
        prompt.children > 0 &&
        html`
          <g
            class="turn"
            aria-hidden="true"
            onClick=${(/** @type {Event} */ event) => {
              event.stopPropagation();
              turn(prompt.number);
            }}
          >
            <circle cx="110" r="7.5" />
            <text x="110" dy=".34em" text-anchor="middle">${data.open ? "−" : "+"}</text>
          </g>
        `
      }
    </g>
  `;
}
