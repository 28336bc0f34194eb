import type { Statement } from '../statement-run.ts'
import { lastNumber } from './outbox-operations.ts'

/**
 * The statements that make, seal and drop the outbox's partitions. `schema` is quoted; names of partitions are made here and need no quotes.
 *
 * @module
 */

/** What a step waits for a lock at most: publishers may queue up behind it for so long. */
export const lockTimeoutMs = 50

const limitWaits: Statement = { text: `set local lock_timeout = ${lockTimeoutMs}` }

/** Last number drawn, and the end of the last partition. */
export function numbers(schema: string): Statement {
  return {
    text: `select (${lastNumber(schema).text}) as drawn, (select max(hi) from ${schema}.outbox_part)::text as ready`,
    params: [`${schema}.outbox`],
  }
}

/** Makes and attaches the partition of [lo, hi). Empty, so attaching reads nothing; publishers are not blocked. */
export function makePartition(schema: string, lo: number, hi: number): readonly Statement[] {
  const name = `outbox_${lo}`
  return [
    { text: 'begin' },
    limitWaits,
    { text: `create table ${schema}.${name} (like ${schema}.outbox including defaults including constraints including indexes)` },
    { text: `alter table ${schema}.outbox attach partition ${schema}.${name} for values from (${lo}) to (${hi})` },
    { text: `insert into ${schema}.outbox_part (name, lo, hi, state) values ($1, $2, $3, 'open')`, params: [name, lo, hi] },
    { text: 'commit' },
  ]
}

/**
 * Seals partitions whose numbers are all drawn. `drawn` was read in an earlier statement; whoever drew one of them had its xid before, because
 * xid is the first column, so this transaction's own xid is above all of theirs.
 */
export function seal(schema: string, drawn: string): Statement {
  return {
    text: `update ${schema}.outbox_part set state = 'sealed', mark = pg_current_xact_id(), sealed_at = clock_timestamp()
      where state = 'open' and hi <= $1 returning name`,
    params: [drawn],
  }
}

/**
 * The oldest sealed partition that nobody needs: no writer of it is left, prepared ones included; every stream has published all of it; no
 * held row is in it; and it has been kept as long as asked.
 */
export function droppable(schema: string, keepMs: number): Statement {
  return {
    text: `select name, hi::text from ${schema}.outbox_part p where state = 'sealed'
      and pg_snapshot_xmin(pg_current_snapshot()) > mark and sealed_at <= clock_timestamp() - $1 * interval '1 millisecond'
      and (select count(*) = max(streams) and bool_and(pg_snapshot_xmin(case when finished then cur else prev end) > p.mark) from ${schema}.relay)
      and not exists (select from ${schema}.relay_held h where h.seq < p.hi)
      order by lo limit 1`,
    params: [keepMs],
  }
}

/** In simple mode: sealed, without a writer, and empty. The caller looks whether it is empty. */
export function emptyCandidate(schema: string): Statement {
  return {
    text: `select name, hi::text from ${schema}.outbox_part where state = 'sealed' and pg_snapshot_xmin(pg_current_snapshot()) > mark order by lo limit 1`,
  }
}

/** How far the removal of a partition has come. */
export function removal(schema: string): Statement {
  return {
    text: `select p.name, to_regclass($1 || '.' || p.name) is not null as exists, i.inhrelid is not null as attached,
        coalesce(i.inhdetachpending, false) as pending
      from ${schema}.outbox_part p left join pg_inherits i on i.inhrelid = to_regclass($1 || '.' || p.name)
      where p.state = 'detaching' order by p.lo limit 1`,
    params: [schema],
  }
}

/** Not for a transaction. */
export function detach(schema: string, name: string): string {
  return `alter table ${schema}.outbox detach partition ${schema}.${name} concurrently`
}

/**
 * Drops a detached partition. Pending: an earlier attempt to detach it was cut short by the time limit; the parent shows its rows no more, and
 * finishing is all that can be done.
 */
export function drop(schema: string, name: string, found: { readonly pending: boolean; readonly exists: boolean }): readonly Statement[] {
  return [
    { text: 'begin' },
    limitWaits,
    ...(found.pending ? [{ text: `alter table ${schema}.outbox detach partition ${schema}.${name} finalize` }] : []),
    ...(found.exists ? [{ text: `drop table ${schema}.${name}` }] : []),
    setState(schema, name, 'dropped'),
    { text: 'commit' },
  ]
}

export function setState(schema: string, name: string, state: 'detaching' | 'dropped'): Statement {
  return { text: `update ${schema}.outbox_part set state = $2 where name = $1`, params: [name, state] }
}
