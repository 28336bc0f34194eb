import { postgresBroker } from '../../../src/drivers/postgres/postgres-broker.ts'

/** Appends pages without end, from where the stream stands; the value of each record is its number, and its page. Prints each acknowledged page. */
export interface SenderLine {
  readonly acknowledged: number
}

export const recordsAPage = 40
export const partitions = 4

const settings = JSON.parse(process.argv[2] ?? '{}') as { connectionString: string; epoch: number }

if (settings.connectionString !== undefined) {
  process.stdin.on('close', () => process.exit()).resume()
  const broker = postgresBroker({ connectionString: settings.connectionString })
  const appender = await broker.appender({ sourceEpoch: 'killed.1', generation: 1, stream: 0, epoch: settings.epoch, topics: ['pages'] })
  for (let page = appender.last === null ? 0 : appender.last.tick + 1; ; page++) {
    await appender.append(
      Array.from({ length: recordsAPage }, (_, seq) => ({
        topic: 'pages',
        partition: seq % partitions,
        key: null,
        value: Buffer.from(`${page}/${seq}`),
        headers: [],
        coordinate: { sourceEpoch: 'killed.1', generation: 1, stream: 0, tick: page, seq },
      })),
    )
    process.stdout.write(`${JSON.stringify({ acknowledged: page } satisfies SenderLine)}\n`)
  }
}
