import type { Statement } from '../statement-run.ts'
import { type StreamScope, integer, pageBytes, pageColumns, shard } from './relay.ts'

/**
 * The statements of simple mode: rows are published in the order of their numbers and deleted. Writers lock their keys, so a row that is not
 * visible yet never belongs before a visible one of its key, and nothing needs to be remembered but the table itself.
 *
 * @module
 */

/** Rows that wait to be published: neither held nor discarded. */
function waiting(scope: StreamScope, after: string): string {
  const { schema } = scope
  return `from ${schema}.outbox o where o.seq > ${integer(after)} ${shard(scope)}
    and not exists (select from ${schema}.relay_held h where h.stream = ${scope.stream} and h.seq = o.seq)
    and not exists (select from ${schema}.relay_discarded d where d.seq = o.seq)`
}

export function probeSimple(scope: StreamScope): Statement {
  return {
    text: `select exists (select ${waiting(scope, '0')} order by o.seq limit 1)
      or exists (select from ${scope.schema}.relay_parked where stream = ${scope.stream} and releasing) as rows`,
  }
}

export function pageSimple(scope: StreamScope, after: string, limit: number): Statement {
  return {
    text: `select ${pageColumns}, false as skipped from (
      select z.*, sum(octet_length(z.payload)) over (order by z.seq) as bytes from (
        select o.* ${waiting(scope, after)} order by o.seq limit ${integer(limit)}
      ) z) z where z.bytes - octet_length(z.payload) < ${pageBytes} order by z.seq`,
  }
}

/** Between two passes, so that a key's held rows come before its newer ones. */
export function releaseSimple({ schema, stream }: StreamScope): Statement {
  return {
    text: `with p as (delete from ${schema}.relay_parked where stream = $1 and releasing returning aggregatetype, aggregateid)
      delete from ${schema}.relay_held h using p where h.aggregatetype = p.aggregatetype and h.aggregateid = p.aggregateid`,
    params: [stream],
  }
}

export function removeSent({ schema }: StreamScope, seqs: readonly number[]): Statement {
  return { text: `delete from ${schema}.outbox where seq = any($1::bigint[])`, params: [seqs] }
}
