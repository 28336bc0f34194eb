import type { LedgerChange, LedgerClaim, LedgerEntry, LedgerKey } from '../../../inbox/port.ts'
import type { Row } from '../../../message/transaction.ts'
import type { Statement } from '../statement-run.ts'

/** Statements on `idempotency_key`. `schema` is the quoted name everywhere. Times are of the moment, since a caller's transaction may be old. */

const columns = `token::text, state, attempts, fingerprint, format, response,
  (extract(epoch from lease_until - clock_timestamp()) * 1000)::float8 as lease_left_ms, expires_at < clock_timestamp() as is_expired`

const thisEntry = 'scope = $1 and identity = $2 and step = $3'

function after(ms: string): string {
  return `clock_timestamp() + ${ms}::float8 * interval '1 millisecond'`
}

/** Until the end of the lease at the least. */
function expiry(leaseMs: string, keepMs: string): string {
  return `case when ${keepMs}::float8 is null then 'infinity' else ${after(`greatest(${leaseMs}::float8, ${keepMs})`)} end`
}

/** No row: somebody else has just made it, and it is not in this statement's snapshot. */
export function beginCall(schema: string, key: LedgerKey, { fingerprint, leaseMs, keepMs }: LedgerClaim): Statement {
  return {
    text: `with made as (
  insert into ${schema}.idempotency_key (scope, identity, step, token, fingerprint, lease_until, expires_at)
  select $1, $2, $3, nextval('${schema}.idempotency_token'), $4, ${after('$5')}, ${expiry('$5', '$6')}
  where not exists (select from ${schema}.idempotency_key where ${thisEntry})
  on conflict do nothing returning *)
select true as is_made, ${columns} from made
union all select false, ${columns} from ${schema}.idempotency_key where ${thisEntry}`,
    params: [...partsOf(key), fingerprint, leaseMs, keepMs],
  }
}

export function changeCall(schema: string, key: LedgerKey, token: string, change: LedgerChange): Statement {
  const { set, where, params } = changed(schema, change)
  return {
    text: `update ${schema}.idempotency_key set ${set} where ${thisEntry} and token = $4 and ${where} returning ${columns}`,
    params: [...partsOf(key), token, ...params],
  }
}

interface Changed {
  readonly set: string
  readonly where: string
  readonly params: readonly unknown[]
}

function changed(schema: string, change: LedgerChange): Changed {
  if (change.to === 'in progress') {
    const { fingerprint, leaseMs, keepMs } = change.claim
    const set = `state = 'in progress', token = nextval('${schema}.idempotency_token'), attempts = attempts + 1, fingerprint = $5,
  lease_until = ${after('$6')}, expires_at = ${expiry('$6', '$7')}, format = null, response = null`
    // Whoever waited for the row may find that its owner has come to an end after all.
    return { set, where: `(state <> 'done' or expires_at < clock_timestamp())`, params: [fingerprint, leaseMs, keepMs] }
  }
  if (change.to === 'renewed') return { set: `lease_until = ${after('$5')}`, where: `state = 'in progress'`, params: [change.leaseMs] }
  if (change.to === 'unknown')
    return { set: `state = 'unknown', lease_until = clock_timestamp()`, where: `state = 'in progress'`, params: [] }
  const { response, keepMs } = change
  const set = `state = 'done', format = $5, response = $6, lease_until = clock_timestamp(), expires_at = ${after('$7')}`
  return { set, where: `state <> 'done'`, params: [response.format, response.body, keepMs] }
}

export function removeCall(schema: string, key: LedgerKey, token: string): Statement {
  return {
    text: `delete from ${schema}.idempotency_key where ${thisEntry} and token = $4 and state <> 'done'`,
    params: [...partsOf(key), token],
  }
}

/** Whoever works on an entry, or removes it at the same time, is not waited for. */
export function forgetExpired(schema: string, limit: number): Statement {
  return {
    text: `delete from ${schema}.idempotency_key k using (
  select scope, identity, step from ${schema}.idempotency_key
  where expires_at < clock_timestamp() and (state <> 'in progress' or lease_until < clock_timestamp())
  order by expires_at limit $1 for update skip locked) old
where k.scope = old.scope and k.identity = old.identity and k.step = old.step`,
    params: [limit],
  }
}

export function countCalls(schema: string): Statement {
  return {
    text: `select scope, case when state = 'in progress' and lease_until < clock_timestamp() then 'unknown' else state end as state, count(*)::int as entries
from ${schema}.idempotency_key group by 1, 2 order by 1, 2`,
  }
}

export function entryOf(row: Row): LedgerEntry {
  return {
    token: String(row['token']),
    state: row['state'] as LedgerEntry['state'],
    leaseLeftMs: Number(row['lease_left_ms']),
    isExpired: row['is_expired'] === true,
    attempts: Number(row['attempts']),
    fingerprint: row['fingerprint'] as string | null,
    response:
      row['state'] === 'done'
        ? { format: row['format'] as NonNullable<LedgerEntry['response']>['format'], body: row['response'] as Buffer }
        : null,
  }
}

function partsOf({ scope, identity, step }: LedgerKey): readonly string[] {
  return [scope, identity, step]
}
