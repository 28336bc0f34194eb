/**
 * Which lane a message belongs to: FNV-1a, 32 bit, over the raw key bytes, mixed once more so that the low bits depend on all of them.
 *
 * On purpose not the partitioner's murmur2: keys of one partition agree in that one modulo the number of partitions, and lanes made from it
 * would stand empty. Stored positions rest on this function: it never changes. Source: Fowler, Noll, Vo; finaliser of MurmurHash3.
 */
export function keyHash(key: Uint8Array): number {
  let h = 0x811c9dc5
  for (let i = 0; i < key.length; i++) h = Math.imul(h ^ key[i]!, 0x01000193)
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** The lane of a record among `lanes`. Without a key nothing has to keep its order, and the offset spreads the records. */
export function laneOf(key: Uint8Array | null, offset: number, lanes: number): number {
  return (key === null ? offset : keyHash(key)) % lanes
}
