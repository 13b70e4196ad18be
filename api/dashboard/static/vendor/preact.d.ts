// What of Preact the dashboard uses.
export type Node = unknown;
export function h(type: unknown, props: unknown, ...children: unknown[]): Node;
export function render(node: Node, parent: Element): void;
export class Component {
  props: unknown;
  state: unknown;
  setState(state: unknown): void;
  render(): unknown;
}
