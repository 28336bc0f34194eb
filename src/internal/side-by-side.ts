/**
 * Does the work for each item, for at most so many of them at once. After a failure nothing more is begun; it rejects with the first failure once what was
 * under way has ended, so that nothing of it is left running.
 */
export async function sideBySide<T>(items: Iterable<T>, most: number, work: (item: T) => Promise<void>): Promise<void> {
  // One iterator for all: each takes the next item that nobody has.
  const left = items[Symbol.iterator]()
  const failures: unknown[] = []
  const worker = async (): Promise<void> => {
    try {
      for (let next = left.next(); failures.length === 0 && next.done !== true; next = left.next()) await work(next.value)
    } catch (error) {
      failures.push(error)
    }
  }
  await Promise.all(Array.from({ length: most }, worker))
  if (failures.length > 0) throw failures[0]
}
