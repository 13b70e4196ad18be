// What of Preact's signals the dashboard uses.
export interface Signal<T> {
  value: T;
  peek(): T;
}
export function signal<T>(initial: T): Signal<T>;
export function computed<T>(make: () => T): { readonly value: T; peek(): T };
export function effect(run: () => void): () => void;
export function useSignal<T>(initial: T): Signal<T>;
