// A family of prompts as far as it is loaded, and which part of it is shown. Wide and deep branches stay folded, and
// are fetched when they are opened.

/** @typedef {import("../../data/schema.d.ts").Relative} Relative */
/** @typedef {import("../../data/schema.d.ts").Lineage} Lineage */
/**
 * @typedef {{kind: "prompt", number: number, prompt: Relative, open: boolean, hidden: number, inner: TreeNode[]}}
 *   PromptNode
 */
/** @typedef {{kind: "more", number: number, count: number, inner: TreeNode[]}} MoreNode */
/** @typedef {PromptNode | MoreNode} TreeNode */

export const STEP = 8;
const DEEP = 3;

export class Family {
  constructor() {
    /** @type {Map<number, Relative>} */
    this.known = new Map();
    /** @type {Map<number, number[]>} */
    this.below = new Map();
    /** How many children of each prompt are shown. @type {Map<number, number>} */
    this.width = new Map();
    /** Prompts that the user opened or closed. @type {Map<number, boolean>} */
    this.open = new Map();
    /** The prompts from the root to the selected one. @type {Set<number>} */
    this.path = new Set();
    this.root = -1;
  }

  /** @param {Lineage} lineage */
  add(lineage) {
    for (const prompt of [...lineage.ancestors, lineage.prompt, ...lineage.descendants]) {
      if (this.known.has(prompt.number)) continue;
      this.known.set(prompt.number, prompt);
      if (prompt.parent === null) this.root = prompt.number;
      else this.below.set(prompt.parent, [...(this.below.get(prompt.parent) ?? []), prompt.number]);
    }
  }

  /** Opens everything from the root down to this prompt. @param {Lineage} lineage */
  openPathTo(lineage) {
    this.add(lineage);
    if (this.root < 0) this.root = lineage.ancestors[0]?.number ?? lineage.prompt.number;
    this.path = new Set([...lineage.ancestors, lineage.prompt].map((prompt) => prompt.number));
    for (const number of this.path) this.open.set(number, true);
  }

  /** The loaded children, those on the path first, then the most informative. @param {number} number */
  children(number) {
    const info = (/** @type {number} */ n) => this.known.get(n)?.info ?? -Infinity;
    return [...(this.below.get(number) ?? [])].sort(
      (a, b) => Number(this.path.has(b)) - Number(this.path.has(a)) || info(b) - info(a) || a - b,
    );
  }

  /** @param {number} number @param {number} level */
  isOpen(number, level) {
    return this.open.get(number) ?? (level < DEEP && (this.below.get(number)?.length ?? 0) > 0);
  }

  /** The part of the tree that is shown. @returns {TreeNode | null} */
  shown(number = this.root, level = 0) {
    const prompt = this.known.get(number);
    if (!prompt) return null;
    const open = this.isOpen(number, level);
    const children = open ? this.children(number) : [];
    const room = this.width.get(number) ?? STEP;
    const inner = /** @type {TreeNode[]} */ (
      children
        .slice(0, room)
        .map((child) => this.shown(child, level + 1))
        .filter(Boolean)
    );
    inner.sort((a, b) => a.number - b.number);
    const hidden = prompt.children - inner.length;
    if (open && hidden > 0) inner.push({ kind: "more", number, count: hidden, inner: [] });
    return { kind: "prompt", number, prompt, open, hidden: open ? 0 : prompt.children, inner };
  }
}
