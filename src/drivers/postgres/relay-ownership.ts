import { TidemarkError } from '../../errors.ts'
import type { OwnerClaim } from '../../outbox/port.ts'
import type { Row } from '../../message/transaction.ts'
import * as relay from './queries/relay.ts'
import type { StreamScope } from './queries/relay.ts'
import type { Session } from './session.ts'
import type { Statement } from './statement-run.ts'

/** The relay's row as it is after a take-over, with what is stored beside it. */
export interface OwnedRow {
  readonly row: Row
  readonly sourceEpoch: string
  readonly topics: readonly string[]
  readonly moved: string | null
}

/** Takes a stream over, making its row when there is none. `null` while another owner is alive. */
export async function own(session: Session, scope: StreamScope, claim: OwnerClaim): Promise<OwnedRow | null> {
  await makeRow(session, scope)
  const [taken] = await session.run([relay.takeOver(scope, claim.owner, claim.leaseMs)])
  const row = taken!.rows[0]
  if (row === undefined) return null
  if (row.streams !== scope.streams) throw otherCount(Number(row.streams), scope.streams)
  const [source, topics] = await session.run([
    { text: `select id, life from ${scope.schema}.source` },
    { text: `select topic from ${scope.schema}.relay_topic where stream = $1 order by topic`, params: [scope.stream] },
  ])
  const { id, life } = source!.rows[0]!
  return {
    row,
    sourceEpoch: `${String(id)}.${String(life)}`,
    topics: topics!.rows.map(({ topic }) => String(topic)),
    moved: movedFrom(row),
  }
}

/**
 * The first relay of a database fixes the number of streams: with two numbers at once a key would have two senders. It makes the rows of all of
 * them, because rows of a stream that nobody knows of would not be counted as pending.
 */
async function makeRow(session: Session, { schema, stream, streams }: StreamScope): Promise<void> {
  const known = await session.query(`select streams from ${schema}.relay where stream = $1`, [stream])
  if (known.length > 0) return
  const [, , other] = await session.run([
    { text: 'begin' },
    { text: `lock table ${schema}.relay in share row exclusive mode` },
    { text: `select streams from ${schema}.relay where streams <> $1::int limit 1`, params: [streams] },
    {
      text: `insert into ${schema}.relay (stream, streams, system_identifier, database_oid)
        select stream, $1::int, system_identifier::text, (select oid from pg_database where datname = current_database())
        from pg_control_system(), generate_series(0, $1::int - 1) stream
        where not exists (select from ${schema}.relay where streams <> $1::int) on conflict (stream) do nothing`,
      params: [streams],
    },
    { text: 'commit' },
  ])
  if (other!.rows.length > 0) throw otherCount(Number(other!.rows[0]!.streams), streams)
}

function otherCount(stored: number, asked: number): TidemarkError {
  return new TidemarkError('CONFIG_INVALID', `This outbox is sent by ${stored} stream(s); the relay was set to ${asked}.`, {
    remedy: `Set streams: ${stored}.`,
  })
}

/** Says from where the streams were kept before, if not in this server and database. */
export function movedFrom(row: Row): string | null {
  if (row.system_identifier !== row.here_system) return `server ${String(row.system_identifier)}, now ${String(row.here_system)}`
  if (String(row.database_oid) !== String(row.here_database))
    return `database oid ${String(row.database_oid)}, now ${String(row.here_database)}`
  return null
}

/** Ends an ownership and gives the connection back. After a failure the connection is closed: its state is unknown. Never rejects. */
export async function relinquish(session: Session, yieldStatement: Statement | null, outcome: 'stopped' | 'broken'): Promise<void> {
  try {
    if (outcome === 'stopped' && yieldStatement !== null) await session.run([yieldStatement])
    session.release(outcome === 'broken')
  } catch (error) {
    session.release(error instanceof Error ? error : true)
  }
}
