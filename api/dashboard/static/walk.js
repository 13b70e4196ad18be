// The list that a prompt was opened from, so that next and previous follow it.

/** @typedef {{numbers: number[], from: string}} Walk */

/** @param {string} run @param {number[]} numbers @param {string} from */
export function remember(run, numbers, from) {
  try {
    sessionStorage.setItem(`eva-walk:${run}`, JSON.stringify({ numbers, from }));
  } catch {
    /* then by number */
  }
}

/** @param {string} run @param {number} number @param {number} last
 * @returns {{before: number | null, after: number | null, from: string | null}} */
export function neighbours(run, number, last) {
  let walk = /** @type {Walk | null} */ (null);
  try {
    walk = JSON.parse(sessionStorage.getItem(`eva-walk:${run}`) ?? "null");
  } catch {
    /* then by number */
  }
  const place = walk?.numbers.indexOf(number) ?? -1;
  if (walk && place >= 0)
    return { before: walk.numbers[place - 1] ?? null, after: walk.numbers[place + 1] ?? null, from: walk.from };
  return { before: number > 0 ? number - 1 : null, after: number < last ? number + 1 : null, from: null };
}
