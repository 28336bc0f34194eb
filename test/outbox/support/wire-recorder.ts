import { createHash } from 'node:crypto'
import type { PostgresDatabase } from '../../../src/drivers/postgres/database.ts'
import { TidemarkError } from '../../../src/errors.ts'
import { type Coordinate, formatCoordinate, parseCoordinate } from '../../../src/message/coordinate.ts'
import type { Appender, Broker, BrokerTraits, Refusal, SequencedRecord, StreamClaim } from '../../../src/message/port.ts'

/** One record as it was sent, repeats included. */
export interface Sent {
  readonly n: number
  readonly topic: string
  readonly key: string
  readonly version: number
  readonly id: string
  readonly coordinate: string | null
  readonly digest: string
  readonly epoch: number
}

export interface RecorderOptions {
  /** Refuse a superseded sender, as the real drivers can. Without it a frozen relay's old page reaches the wire. */
  readonly fences: boolean
  readonly maxRecordBytes?: number
  /** Records that are refused at the append itself, by version. */
  readonly refuses?: (version: number) => boolean
}

/**
 * A broker that keeps every record that was ever sent, in the order of arrival, in a table that all processes share: so that losses, repeats
 * and changes of order are counted exactly. A page arrives in two halves, so that a crash in mid-send leaves one.
 */
export class WireRecorder implements Broker {
  readonly traits: BrokerTraits
  readonly #database: PostgresDatabase
  readonly #options: RecorderOptions

  constructor(database: PostgresDatabase, options: RecorderOptions) {
    const { fences, maxRecordBytes = 100_000 } = options
    this.traits = { denseOffsets: true, fencesAppends: fences, skipsRepeats: false, durable: true, crossProcess: true, maxRecordBytes }
    this.#database = database
    this.#options = options
  }

  static async create(database: PostgresDatabase): Promise<void> {
    await database.query(`create table if not exists wire (n bigint generated always as identity primary key, source text, stream int, life int, tick bigint,
      seq bigint, topic text, key text, version int, id text, coordinate text, digest text, epoch int)`)
    await database.query(
      'create table if not exists wire_owner (source text, stream int, life int, epoch int, primary key (source, stream))',
    )
  }

  async topics(specs: readonly { readonly name: string }[]) {
    return specs.map(({ name }) => ({ name, id: name, partitions: 4 }))
  }

  async appender(claim: StreamClaim): Promise<Appender> {
    const [source, life] = claim.sourceEpoch.split('.') as [string, string]
    const owner = [source, claim.stream, Number(life), claim.epoch]
    const owned = await this.#database.query(
      `insert into wire_owner values ($1, $2, $3, $4) on conflict (source, stream) do update set life = excluded.life, epoch = excluded.epoch
       where (wire_owner.life, wire_owner.epoch) <= (excluded.life, excluded.epoch) returning epoch`,
      owner,
    )
    if (owned.length === 0 && this.#options.fences) throw new TidemarkError('BROKER_FENCED', 'a newer owner')
    const [last] = await this.#database.query<{ coordinate: string }>(
      'select coordinate from wire where source = $1 and stream = $2 and coordinate is not null order by life desc, tick desc, seq desc limit 1',
      [source, claim.stream],
    )
    return {
      last: last === undefined ? null : parseCoordinate(last.coordinate),
      append: (records) => this.#append(claim, owner, records),
      close: () => Promise.resolve(),
    }
  }

  join = (): Promise<never> => Promise.reject(new Error('nobody reads the recorder'))
  reader = (): never => {
    throw new Error('nobody reads the recorder')
  }
  offsets = (): Promise<never> => Promise.reject(new Error('nobody reads the recorder'))
  committed = (): Promise<never> => Promise.reject(new Error('nobody reads the recorder'))
  close = (): Promise<void> => Promise.resolve()

  /** Everything sent so far. */
  async sent(): Promise<Sent[]> {
    const rows = await this.#database.query('select * from wire order by n')
    return rows.map((row) => ({ ...row, n: Number(row.n) }) as Sent)
  }

  async count(): Promise<number> {
    const [row] = await this.#database.query<{ count: string }>('select count(*) from wire')
    return Number(row!.count)
  }

  async clear(): Promise<void> {
    await this.#database.query('truncate wire, wire_owner')
  }

  async #append(claim: StreamClaim, owner: unknown[], records: readonly SequencedRecord[]): Promise<readonly Refusal[]> {
    const half = Math.ceil(records.length / 2)
    const refused = this.#options.refuses ?? (() => false)
    const refusals = records.flatMap((record, index) => (refused(versionOf(record)) ? [{ index, reason: 'refused' }] : []))
    const taken = records.map((record, i) => ({ record, i })).filter(({ i }) => !refusals.some(({ index }) => index === i))
    for (const part of [taken.filter(({ i }) => i < half), taken.filter(({ i }) => i >= half)]) {
      if (part.length > 0)
        await this.#insert(
          claim,
          owner,
          part.map(({ record }) => record),
        )
    }
    return refusals
  }

  async #insert(claim: StreamClaim, owner: unknown[], records: readonly SequencedRecord[]): Promise<void> {
    const rows = records.map((record) => rowOf(claim, record))
    const inserted = await this.#database.query(
      `insert into wire (source, stream, life, tick, seq, topic, key, version, id, coordinate, digest, epoch)
       select $1, $2::int, $3::int, x.tick, x.seq, x.topic, x.key, x.version, x.id, x.coordinate, x.digest, $4::int
       from jsonb_to_recordset($5::jsonb) as x(tick bigint, seq bigint, topic text, key text, version int, id text, coordinate text, digest text)
       where not $6 or exists (select from wire_owner where source = $1 and stream = $2 and life = $3 and epoch = $4 for share) returning n`,
      [...owner, JSON.stringify(rows), this.#options.fences],
    )
    if (inserted.length === 0) throw new TidemarkError('BROKER_FENCED', 'a newer owner')
  }
}

function versionOf({ value }: SequencedRecord): number {
  return (JSON.parse(value!.toString()) as { version: number }).version
}

function rowOf(claim: StreamClaim, record: SequencedRecord) {
  const { coordinate, topic, key, value, headers, partition } = record
  const text = coordinate === null ? null : formatCoordinate(coordinate)
  const digest = createHash('sha256')
    .update(JSON.stringify([topic, partition, key, value, headers]))
    .digest('hex')
  const id = headers.find(([name]) => name === 'id')![1]!.toString()
  return {
    tick: coordinate?.tick ?? 0,
    seq: coordinate?.seq ?? 0,
    topic,
    key: key!.toString(),
    version: versionOf(record),
    id,
    coordinate: text,
    digest,
  }
}

/** What a reader with a high-water per stream sees: the wire without repeats. */
export function withoutRepeats(sent: readonly Sent[]): Sent[] {
  const high = new Map<string, Coordinate>()
  return sent.filter(({ coordinate: text }) => {
    const at = parseCoordinate(text!)!
    const lane = `${at.sourceEpoch}/${at.generation}/${at.stream}`
    const last = high.get(lane)
    if (last !== undefined && (at.tick - last.tick || at.seq - last.seq) <= 0) return false
    high.set(lane, at)
    return true
  })
}

/** Keys whose versions, as seen, are not 1, 2, 3 … */
export function outOfOrder(seen: readonly Sent[]): string[] {
  const next = new Map<string, number>()
  const wrong: string[] = []
  for (const { key, version, n } of seen) {
    const expected = next.get(key) ?? 1
    if (version !== expected) wrong.push(`${key}: ${version} came where ${expected} was due (n ${n})`)
    next.set(key, Math.max(expected, version) + 1)
  }
  return wrong
}

/** Coordinates that were sent with two contents. */
export function changedRepeats(sent: readonly Sent[]): string[] {
  const digests = new Map<string, string>()
  return sent.flatMap(({ coordinate, digest }) => {
    const before = digests.get(coordinate!)
    digests.set(coordinate!, digest)
    return before === undefined || before === digest ? [] : [coordinate!]
  })
}
