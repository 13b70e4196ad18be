// What of jsdiff the dashboard uses.
export interface Part {
  value: string;
  added: boolean;
  removed: boolean;
}
export function diffWordsWithSpace(before: string, after: string, how: { maxEditLength: number }): Part[] | undefined;
