import type { Service } from '../../../src/service/index.ts'
import { seeded } from '../../outbox/support/adversary.ts'
import { changed } from './load.ts'

export interface PublishSettings {
  readonly keys: number
  readonly seed: number
  /** Transactions at once. */
  readonly writers: number
  /** Of each writer between two transactions, on the average. */
  readonly pauseMs: number
}

/** Publishes changes of random keys, some in each transaction, until told to end. Returns how many messages were committed. */
export async function publishChanges(
  service: Service,
  aggregate: string,
  { keys, seed, writers, pauseMs }: PublishSettings,
  running: () => boolean,
): Promise<number> {
  let committed = 0
  const write = async (writer: number): Promise<void> => {
    const random = seeded(seed * 1_000 + writer)
    while (running()) {
      const picked = new Set(Array.from({ length: 1 + Math.floor(random() * 4) }, () => Math.floor(random() * keys)))
      // In one order, as everybody should who locks rows.
      const wanted = [...picked].sort((a, b) => a - b).map((key) => ({ key: `key-${key}`, count: 1 + Math.floor(random() * 3) }))
      const count = await publishOnce(service, aggregate, wanted)
      committed += count
      await new Promise((resolve) => setTimeout(resolve, pauseMs * 2 * random()))
    }
  }
  await Promise.all(Array.from({ length: writers }, (_, writer) => write(writer)))
  return committed
}

/** Publishes in one transaction the next changes of these keys, and counts them in `latest`. Returns how many there were. */
export function publishOnce(
  service: Service,
  aggregate: string,
  wanted: readonly { readonly key: string; readonly count: number; readonly pad?: string }[],
): Promise<number> {
  return service.transaction(async (tx) => {
    let published = 0
    for (const { key, count, pad } of wanted) {
      const [row] = await tx.query<{ n: number }>(
        `insert into latest values ($1, $2, $3) on conflict (aggregate, key) do update set n = latest.n + excluded.n returning n`,
        [aggregate, key, count],
      )
      for (let n = row!.n - count + 1; n <= row!.n; n++) await service.publish(tx, changed(aggregate), { key, n, pad })
      published += count
    }
    return published
  })
}
