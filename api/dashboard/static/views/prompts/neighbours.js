// Which prompts come before and after one, in the list that it was opened from.

/** @typedef {{numbers: number[], from: string}} Walk */

/** @param {string} run @param {number[]} numbers @param {string} from */
export function rememberList(run, numbers, from) {
  try {
    sessionStorage.setItem(`eva-walk:${run}`, JSON.stringify({ numbers, from }));
  } catch {
    /* no storage: next and previous go by number */
  }
}

/** @param {string} run @param {number} number @param {number} last
 * @returns {{before: number | null, after: number | null, from: string | null}} */
export function neighbours(run, number, last) {
  let walk = /** @type {Walk | null} */ (null);
  try {
    walk = JSON.parse(sessionStorage.getItem(`eva-walk:${run}`) ?? "null");
  } catch {
    /* no storage: next and previous go by number */
  }
  const index = walk?.numbers.indexOf(number) ?? -1;
  if (walk && index >= 0)
    return { before: walk.numbers[index - 1] ?? null, after: walk.numbers[index + 1] ?? null, from: walk.from };
  return { before: number > 0 ? number - 1 : null, after: number < last ? number + 1 : null, from: null };
}
