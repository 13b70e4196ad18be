// What of d3-hierarchy the dashboard uses.
export interface Placed<T> {
  data: T;
  x: number;
  y: number;
  depth: number;
  parent: Placed<T> | null;
  children?: Placed<T>[];
  descendants(): Placed<T>[];
  links(): { source: Placed<T>; target: Placed<T> }[];
}
export function hierarchy<T>(data: T, children: (one: T) => T[]): Placed<T>;
export function tree<T>(): { nodeSize(size: [number, number]): (root: Placed<T>) => Placed<T> };
