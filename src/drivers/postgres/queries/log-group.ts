import type { GroupMemberState, GroupPartition, GroupState } from '../../../message/group/group-state.ts'
import type { Session } from '../session.ts'
import type { Statement } from '../statement-run.ts'

/** A group as it was read under its lock. */
export interface GroupRead {
  readonly version: number
  /** The database's clock, milliseconds since 1970. */
  readonly now: number
  readonly state: GroupState
}

const milliseconds = (time: string): string => `(extract(epoch from ${time}) * 1000)::float8`

/**
 * One statement for the beat that finds nothing to do: notes the heartbeat if the group is as the member knows it and nobody's time is over.
 * `false`: look under the lock.
 */
export async function quietBeat(session: Session, schema: string, group: string, memberId: string, version: number): Promise<boolean> {
  const rows = await session.query(
    `update ${schema}.log_member m set heartbeat_at = clock_timestamp()
     from ${schema}.log_group g
     where g.name = $1 and m."group" = g.name and m.id = $2 and g.version = $3
       and not exists (select from ${schema}.log_member o where o."group" = g.name and o.id <> m.id
         and greatest(o.heartbeat_at, pg_postmaster_start_time()) + o.session_timeout_ms * interval '1 ms' < clock_timestamp())
       and not exists (select from ${schema}.log_assignment a where a."group" = g.name and a.give_away_at < clock_timestamp())
     returning 1 as alive`,
    [group, memberId, version],
  )
  return rows.length === 1
}

/**
 * Locks a group and reads it, in one round trip, at the start of a transaction. A holder that stands still is ended by the server after
 * `patienceMs`, and nobody waits for longer than twice that.
 *
 * After a restart of the server nobody has been silent: heartbeats count from its start at the earliest.
 */
export async function lockGroup(session: Session, schema: string, group: string, patienceMs: number): Promise<GroupRead> {
  const results = await session.run([
    {
      text: `select set_config('idle_in_transaction_session_timeout', $1, true), set_config('lock_timeout', $2, true)`,
      params: [`${patienceMs}`, `${2 * patienceMs}`],
    },
    { text: `insert into ${schema}.log_group (name) values ($1) on conflict do nothing`, params: [group] },
    { text: `select version from ${schema}.log_group where name = $1 for update`, params: [group] },
    {
      text: `select id, client_id, topics, session_timeout_ms, drain_timeout_ms, ${milliseconds('greatest(heartbeat_at, pg_postmaster_start_time())')} as heartbeat_at
        from ${schema}.log_member where "group" = $1 order by number`,
      params: [group],
    },
    {
      text: `select t.name, t.id as topic_id, a.partition, a.owner, a.target, ${milliseconds('a.give_away_at')} as give_away_at
        from ${schema}.log_assignment a join ${schema}.log_topic t on t.key = a.topic where a."group" = $1 order by t.name, a.partition`,
      params: [group],
    },
    { text: `select ${milliseconds('clock_timestamp()')} as now` },
  ])
  const [version, members, partitions, clock] = results.slice(2).map(({ rows }) => rows)
  return {
    version: Number(version![0]!.version),
    now: clock![0]!.now as number,
    state: {
      members: members!.map((row) => ({
        id: row.id as string,
        clientId: row.client_id as string | null,
        topics: row.topics as string[],
        sessionTimeoutMs: row.session_timeout_ms as number,
        drainTimeoutMs: row.drain_timeout_ms as number,
        heartbeatAt: row.heartbeat_at as number,
      })),
      partitions: partitions!.map((row) => ({
        topic: row.name as string,
        topicId: row.topic_id as string,
        partition: row.partition as number,
        owner: row.owner as string | null,
        target: row.target as string | null,
        giveAwayAt: row.give_away_at as number | null,
      })),
    },
  }
}

/** Writes what changed between two states, and the heartbeat of one member. Raises the version if anything but the heartbeat did. */
export async function writeGroup(
  session: Session,
  schema: string,
  group: string,
  before: GroupState,
  after: GroupState,
  memberId: string,
): Promise<boolean> {
  const statements = [
    ...memberChanges(schema, group, before.members, after.members),
    ...partitionChanges(schema, group, before.partitions, after.partitions),
  ]
  const changed = statements.length > 0
  if (changed) statements.push({ text: `update ${schema}.log_group set version = version + 1 where name = $1`, params: [group] })
  statements.push({
    text: `update ${schema}.log_member set heartbeat_at = clock_timestamp() where "group" = $1 and id = $2`,
    params: [group, memberId],
  })
  await session.run(statements)
  return changed
}

function memberChanges(
  schema: string,
  group: string,
  before: readonly GroupMemberState[],
  after: readonly GroupMemberState[],
): Statement[] {
  const statements: Statement[] = []
  const gone = before.filter(({ id }) => !after.some((member) => member.id === id))
  if (gone.length > 0) {
    statements.push({
      text: `delete from ${schema}.log_member where "group" = $1 and id = any($2::uuid[])`,
      params: [group, gone.map(({ id }) => id)],
    })
  }
  for (const { id, clientId, topics, sessionTimeoutMs, drainTimeoutMs } of after.filter(
    (member) => !before.some((known) => known.id === member.id),
  )) {
    statements.push({
      text: `insert into ${schema}.log_member ("group", id, client_id, topics, session_timeout_ms, drain_timeout_ms) values ($1, $2, $3, $4, $5, $6)`,
      params: [group, id, clientId, topics, sessionTimeoutMs, drainTimeoutMs],
    })
  }
  return statements
}

function partitionChanges(schema: string, group: string, before: readonly GroupPartition[], after: readonly GroupPartition[]): Statement[] {
  const same = new Set(before)
  const kept = new Set(after.map(({ topicId, partition }) => `${topicId}/${partition}`))
  const gone = before.filter(({ topicId, partition }) => !kept.has(`${topicId}/${partition}`))
  const changed = after.filter((row) => !same.has(row))
  const statements: Statement[] = []
  if (gone.length > 0) {
    statements.push({
      text: `delete from ${schema}.log_assignment a using ${schema}.log_topic t, unnest($2::uuid[], $3::int[]) gone(id, partition)
        where a."group" = $1 and t.key = a.topic and t.id = gone.id and a.partition = gone.partition`,
      params: [group, gone.map((row) => row.topicId), gone.map((row) => row.partition)],
    })
  }
  if (changed.length > 0) {
    statements.push({
      text: `insert into ${schema}.log_assignment ("group", topic, partition, owner, target, give_away_at)
        select $1, t.key, c.partition, c.owner, c.target, to_timestamp(c.give_away_at / 1000)
        from unnest($2::uuid[], $3::int[], $4::uuid[], $5::uuid[], $6::float8[]) c(id, partition, owner, target, give_away_at)
        join ${schema}.log_topic t on t.id = c.id
        on conflict ("group", topic, partition) do update set owner = excluded.owner, target = excluded.target, give_away_at = excluded.give_away_at`,
      params: [
        group,
        changed.map((row) => row.topicId),
        changed.map((row) => row.partition),
        changed.map((row) => row.owner),
        changed.map((row) => row.target),
        changed.map((row) => row.giveAwayAt),
      ],
    })
  }
  return statements
}

/** The partitions of topics by name, in the order of name and number. */
export async function partitionsOf(
  session: Session,
  schema: string,
  topics: readonly string[],
): Promise<{ topic: string; topicId: string; partition: number }[]> {
  const rows = await session.query<{ name: string; id: string; partition: number }>(
    `select t.name, t.id, h.partition from ${schema}.log_topic t join ${schema}.log_head h on h.topic = t.key where t.name = any($1::text[]) order by 1, 3`,
    [topics],
  )
  return rows.map(({ name, id, partition }) => ({ topic: name, topicId: id, partition }))
}
