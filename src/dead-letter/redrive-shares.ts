/**
 * So many letters of a partition go in one transaction. It keeps the positions of their lanes locked, so the consumer's batches wait for it at their end: some
 * ten milliseconds for so many. And each transaction costs about as much as twenty letters.
 */
const lettersAtOnce = 100

/** Letters of one partition in their order, cut into what goes together. Those of one key need not be in one share, as the shares go one after the other. */
export function* sharesOf<Letter>(letters: readonly Letter[]): Generator<readonly Letter[]> {
  for (let from = 0; from < letters.length; from += lettersAtOnce) yield letters.slice(from, from + lettersAtOnce)
}

/** Adds to the list of that name. */
export function addTo<T>(lists: Map<string, T[]>, name: string, one: T): void {
  const list = lists.get(name)
  if (list === undefined) lists.set(name, [one])
  else list.push(one)
}
