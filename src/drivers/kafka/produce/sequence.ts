/** Sequence numbers of idempotent producing go from 0 to 2^31 - 1 and begin again at 0. */
export function addToSequence(sequence: number, records: number): number {
  return (sequence + records) % 2 ** 31
}
