import type { Session } from '../session.ts'

/** A sender, as its row names it. */
export interface StreamOwner {
  readonly source: string
  readonly stream: number
  readonly life: number
  readonly epoch: number
}

export interface StreamClaimed {
  readonly outcome: 'claimed' | 'fenced'
  readonly last: string | null
}

/** Takes a stream over, unless a later life or a higher epoch has it. */
export async function claimStream(session: Session, schema: string, owner: StreamOwner): Promise<StreamClaimed> {
  const [claimed, found] = await session.run([
    {
      text: `insert into ${schema}.log_stream as s (source, stream, life, epoch) values ($1, $2, $3, $4)
        on conflict (source, stream) do update set life = excluded.life, epoch = excluded.epoch where (s.life, s.epoch) <= (excluded.life, excluded.epoch)
        returning last`,
      params: [owner.source, owner.stream, owner.life, owner.epoch],
    },
    { text: `select last from ${schema}.log_stream where source = $1 and stream = $2`, params: [owner.source, owner.stream] },
  ])
  const outcome = claimed!.rows.length === 1 ? 'claimed' : 'fenced'
  return { outcome, last: found!.rows[0]!.last as string | null }
}

/** What one page brings to one partition, in order; at most one batch of some size each, so a partition may occur again. */
export interface NewBatch {
  readonly topic: number
  readonly partition: number
  readonly records: number
  readonly bytes: number
}

/** What `log_append` answers; see its comment in the migrations. */
export type Appended =
  | { readonly outcome: 'appended'; readonly ends: readonly number[] }
  | { readonly outcome: 'fenced' | 'moved'; readonly last: string | null }
  | { readonly outcome: 'missing'; readonly batch: number }

/** All of it in one statement: a transaction of its own, durable when this resolves. `known` and `last` are coordinates in wire form. */
export async function appendBatches(
  session: Session,
  schema: string,
  owner: StreamOwner,
  coordinates: { readonly known: string | null; readonly last: string | null },
  batches: readonly NewBatch[],
  bodies: Buffer,
): Promise<Appended> {
  const [row] = await session.query<{ outcome: Appended['outcome']; last: string | null; ends: string[] | null }>(
    `select outcome, last, ends from ${schema}.log_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
    [
      owner.source,
      owner.stream,
      owner.life,
      owner.epoch,
      coordinates.known,
      coordinates.last,
      batches.map((b) => b.topic),
      batches.map((b) => b.partition),
      batches.map((b) => b.records),
      batches.map((b) => b.bytes),
      bodies,
    ],
  )
  const { outcome, last, ends } = row!
  if (outcome === 'appended') return { outcome, ends: ends!.map(Number) }
  if (outcome === 'missing') return { outcome, batch: Number(ends![0]) - 1 }
  return { outcome, last }
}
