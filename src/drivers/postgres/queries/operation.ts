import type { Row } from '../../../message/transaction.ts'
import type { FrozenItem, Item, ItemResult, Operation, OperationSettings, OperationState, Params } from '../../../operation/operation.ts'
import type { ClaimRequest, ItemFilter, NewOperation, OperationFilter, OperationWish } from '../../../operation/port.ts'
import type { Statement } from '../statement-run.ts'
import { storableText } from './record-columns.ts'

/** Statements on `operation` and `operation_item`. `schema` is the quoted name everywhere. */

export interface SettledCounts {
  readonly done: number
  readonly failed: number
  readonly skipped: number
}

/** Of one lease on one operation. */
export interface LeaseRef {
  readonly id: string
  readonly token: number
  readonly leaseMs: number
}

export function insertOperation(schema: string, operation: NewOperation): Statement {
  const { id, kind, params, settings, planned, actor, reason } = operation
  return {
    text: `insert into ${schema}.operation (id, kind, params, settings, planned, actor, roles, reason) values ($1, $2, $3, $4, $5, $6, $7::text[], $8)`,
    params: [
      id,
      kind,
      JSON.stringify(params),
      JSON.stringify(settings),
      JSON.stringify(planned),
      storableText(actor.id),
      actor.roles.map(storableText),
      reason === null ? null : storableText(reason),
    ],
  }
}

export function selectOperation(schema: string, id: string): Statement {
  return { text: `select * from ${schema}.operation where id = $1`, params: [id] }
}

export function selectOperations(schema: string, { states, kinds, limit = 50 }: OperationFilter): Statement {
  return {
    text: `select * from ${schema}.operation where ($1::text[] is null or state = any($1)) and ($2::text[] is null or kind = any($2))
      order by id desc limit $3`,
    params: [states ?? null, kinds ?? null, limit],
  }
}

export function selectItems(schema: string, id: string, { outcomes, after = -1, limit = 100 }: ItemFilter): Statement {
  return {
    text: `select * from ${schema}.operation_item where operation = $1 and place > $2 and ($3::text[] is null or outcome = any($3))
      order by place limit $4`,
    params: [id, after, outcomes ?? null, limit],
  }
}

const taken = `lease = null, lease_until = null, runner = null, changed_at = clock_timestamp()`

const wishes: Readonly<Record<OperationWish, string>> = {
  confirm: `state = 'freezing', started_at = clock_timestamp() where id = $1 and state = 'planned'`,
  pause: `state = 'paused' where id = $1 and state in ('freezing', 'running')`,
  // What had failed by now does not count against what is to come.
  resume: `state = case when frozen then 'running' else 'freezing' end, error = null, ended_at = null, base_tried = done + failed + started,
    base_failed = failed where id = $1 and state in ('paused', 'failed')`,
  cancel: `state = 'cancelled', ended_at = clock_timestamp() where id = $1 and state not in ('done', 'cancelled')`,
}

export function changeOperation(schema: string, id: string, wish: OperationWish): Statement {
  return { text: `update ${schema}.operation set ${taken}, ${wishes[wish]} returning *`, params: [id] }
}

/** Whoever is locked is at work, or about to be changed by an operator: passed over. */
export function claimOperation(schema: string, { runner, kinds, id, except = [], leaseMs }: ClaimRequest): Statement {
  return {
    text: `update ${schema}.operation set lease = nextval('${schema}.operation_lease'), runner = $1,
        lease_until = clock_timestamp() + $2::bigint * interval '1 ms', changed_at = clock_timestamp()
      where id = (
        select id from ${schema}.operation where state in ('freezing', 'running') and kind = any($3::text[]) and ($4::uuid is null or id = $4)
          and id <> all($5::uuid[]) and (lease is null or lease_until < clock_timestamp() or runner = $1)
        order by id limit 1 for update skip locked
      ) returning *`,
    params: [runner, leaseMs, kinds, id ?? null, except],
  }
}

const mine = `id = $1 and lease = $2`
const longer = `lease_until = clock_timestamp() + $3::bigint * interval '1 ms', changed_at = clock_timestamp()`

function lease({ id, token, leaseMs }: LeaseRef): readonly unknown[] {
  return [id, token, leaseMs]
}

/** Keeps the time of the last change: nothing has. */
export function renewLease(schema: string, ref: LeaseRef): Statement {
  return {
    text: `update ${schema}.operation set lease_until = clock_timestamp() + $3::bigint * interval '1 ms' where ${mine}`,
    params: lease(ref),
  }
}

export function clearTotal(schema: string, ref: LeaseRef): Statement {
  return {
    text: `update ${schema}.operation set ${longer}, total = 0 where ${mine} and state = 'freezing' returning id`,
    params: lease(ref),
  }
}

export function deleteItems(schema: string, id: string): Statement {
  return { text: `delete from ${schema}.operation_item where operation = $1`, params: [id] }
}

/** Their places follow those that are there. Nothing, unless the lease holds. */
export function addItems(schema: string, ref: LeaseRef, items: readonly FrozenItem[]): Statement {
  return {
    text: `with held as (
        update ${schema}.operation set ${longer}, total = total + $4 where ${mine} and state = 'freezing' returning id, total - $4 as first
      )
      insert into ${schema}.operation_item (operation, place, item_group, data)
      select h.id, h.first + i.n - 1, i.item_group, i.data::json
      from held h cross join unnest($5::text[], $6::text[]) with ordinality i(item_group, data, n)`,
    params: [...lease(ref), items.length, items.map(({ group }) => group), items.map(({ data }) => JSON.stringify(data))],
  }
}

export function setFrozen(schema: string, ref: LeaseRef): Statement {
  return {
    text: `update ${schema}.operation set ${longer}, frozen = true, state = 'running' where ${mine} and state = 'freezing' returning total`,
    params: lease(ref),
  }
}

/** `limit` items, and behind them those of the last one's group. */
export function pendingItems(schema: string, id: string, next: number, limit: number, more: number): Statement {
  return {
    text: `select i.* from ${schema}.operation_item i
      where i.operation = $1 and i.place >= $2 and i.place < $2::bigint + $3 + $4 and (i.place < $2::bigint + $3 or i.item_group = (
        select l.item_group from ${schema}.operation_item l where l.operation = $1 and l.place = $2::bigint + $3 - 1))
      order by i.place`,
    params: [id, next, limit, more],
  }
}

/** One statement, so that the row of the operation is locked, and looked at, before any item is written. */
export function storeResults(schema: string, ref: LeaseRef, from: number, results: readonly ItemResult[]): Statement {
  return {
    text: `with held as (
        update ${schema}.operation set ${longer}, next_place = $4::bigint + $5, ${counted('$6')}
        where ${mine} and state = 'running' and next_place = $4 returning id
      )
      update ${schema}.operation_item i set outcome = r.outcome, reason = r.reason, at = clock_timestamp()
      from held h cross join unnest($7::bigint[], $6::text[], $8::text[]) r(place, outcome, reason) where i.operation = h.id and i.place = r.place`,
    params: [...lease(ref), from, results.length, ...columns(results)],
  }
}

/** Locks the operation, if the lease holds. */
export function holdLease(schema: string, ref: LeaseRef): Statement {
  return { text: `update ${schema}.operation set ${longer} where ${mine} and state = 'running' returning id`, params: lease(ref) }
}

/** Those that are not `started` any more are left as they are, and do not count. */
export function settleItems(schema: string, id: string, results: readonly ItemResult[]): Statement {
  return {
    text: `update ${schema}.operation_item i set outcome = r.outcome, reason = r.reason, at = clock_timestamp()
      from unnest($2::text[], $3::bigint[], $4::text[]) r(outcome, place, reason)
      where i.operation = $1 and i.place = r.place and i.outcome = 'started' and r.outcome <> 'started' returning r.outcome`,
    params: [id, ...columns(results)],
  }
}

export function countSettled(schema: string, id: string, { done, failed, skipped }: SettledCounts): Statement {
  return {
    text: `update ${schema}.operation set done = done + $2, failed = failed + $3, skipped = skipped + $4, started = started - $2 - $3 - $4 where id = $1`,
    params: [id, done, failed, skipped],
  }
}

export function endOperation(schema: string, ref: LeaseRef, as: 'done' | 'failed', error: string | null): Statement {
  return {
    text: `update ${schema}.operation set ${taken}, state = $3, error = $4, ended_at = clock_timestamp()
      where ${mine} and state in ('freezing', 'running') returning id`,
    params: [ref.id, ref.token, as, error === null ? null : storableText(error)],
  }
}

export function releaseLease(schema: string, ref: LeaseRef): Statement {
  return {
    text: `update ${schema}.operation set lease = null, lease_until = null, runner = null where id = $1 and lease = $2`,
    params: [ref.id, ref.token],
  }
}

/** One that ended long ago, unless somebody is resuming it. */
export function forgetOperation(schema: string, keepMs: number): Statement {
  return {
    text: `with gone as (
        delete from ${schema}.operation where id = (select id from ${schema}.operation where state in ('done', 'failed', 'cancelled')
          and ended_at < clock_timestamp() - $1::bigint * interval '1 ms' order by id limit 1 for update skip locked) returning id
      ), items as (delete from ${schema}.operation_item i using gone g where i.operation = g.id)
      select id from gone`,
    params: [keepMs],
  }
}

function columns(results: readonly ItemResult[]): readonly unknown[] {
  return [
    results.map(({ outcome }) => outcome),
    results.map(({ place }) => place),
    results.map(({ reason = null }) => (reason === null ? null : storableText(reason))),
  ]
}

function counted(outcomes: string): string {
  const names = ['done', 'failed', 'skipped', 'started']
  return names.map((name) => `${name} = ${name} + (select count(*) from unnest(${outcomes}::text[]) o where o = '${name}')`).join(', ')
}

export function operationOf(row: Row): Operation {
  return {
    id: String(row['id']),
    kind: String(row['kind']),
    params: row['params'] as Params,
    settings: row['settings'] as OperationSettings,
    planned: row['planned'] as Operation['planned'],
    state: row['state'] as OperationState,
    frozen: row['frozen'] === true,
    total: Number(row['total']),
    next: Number(row['next_place']),
    counts: { done: Number(row['done']), failed: Number(row['failed']), skipped: Number(row['skipped']), started: Number(row['started']) },
    base: { tried: Number(row['base_tried']), failed: Number(row['base_failed']) },
    actor: { id: String(row['actor']), roles: row['roles'] as string[] },
    reason: row['reason'] as string | null,
    error: row['error'] as string | null,
    runner: row['runner'] as string | null,
    createdAt: row['created_at'] as Date,
    changedAt: row['changed_at'] as Date,
    startedAt: row['started_at'] as Date | null,
    endedAt: row['ended_at'] as Date | null,
  }
}

export function itemOf(row: Row): Item {
  return {
    place: Number(row['place']),
    group: row['item_group'] as string | null,
    data: row['data'] as Params,
    outcome: row['outcome'] as Item['outcome'],
    reason: row['reason'] as string | null,
    at: row['at'] as Date | null,
  }
}
