import { postgresBroker } from '../../../src/drivers/postgres/postgres-broker.ts'
import type { AssignedPartition } from '../../../src/message/port.ts'

/** Joins a group and prints what it is told. Runs until it is killed, or its parent goes. */
export interface MemberLine {
  readonly what: 'assigned' | 'revoked' | 'lost' | 'failed'
  readonly partitions: readonly number[]
}

const settings = JSON.parse(process.argv[2]!) as { connectionString: string; topic: string; sessionTimeoutMs: number }
const say = (what: MemberLine['what'], partitions: readonly AssignedPartition[]): void =>
  void process.stdout.write(`${JSON.stringify({ what, partitions: partitions.map(({ partition }) => partition) } satisfies MemberLine)}\n`)

process.stdin.on('close', () => process.exit()).resume()
await postgresBroker({ connectionString: settings.connectionString }).join(
  { group: 'g', topics: [settings.topic], sessionTimeoutMs: settings.sessionTimeoutMs },
  {
    assigned: (partitions) => say('assigned', partitions),
    revoked: async (partitions) => say('revoked', partitions),
    lost: (partitions) => say('lost', partitions),
    failed: () => say('failed', []),
  },
)
