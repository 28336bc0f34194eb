import type { Header, LogRecord } from '../../../message/port.ts'
import type { ErasableStore, ErasedKey, ErasureCount } from '../../../operation/erase.ts'
import type { PostgresDatabase } from '../database.ts'
import { defaultSchema, quotedSchema } from '../migrations/schema-name.ts'
import { type BatchPlace, batchesWith, erasedHeader, replaceBatch } from '../queries/erase.ts'
import { readBatch } from './batch-reader.ts'
import { BatchWriter } from './batch-writer.ts'

/** Batches looked into in one go. */
const batchPage = 20
/** What is kept of an erased record: who it was, so that a repeat of it is still one. Without a type no handler asks for it. */
const keptHeaders = new Set(['id', 'ce_id', 'ce_source', 'ce_specversion', 'tidemark-coordinate'])

interface StoredBatch {
  readonly place: BatchPlace
  readonly body: Buffer
  readonly records: readonly LogRecord[]
}

/** The content of one key's records in the log of Postgres. Offsets stay dense: a record is emptied, never removed. */
export class LogEraser implements ErasableStore {
  readonly name = 'log'
  readonly #database: PostgresDatabase
  readonly #schema: string

  constructor({ database, schema = defaultSchema }: { readonly database: PostgresDatabase; readonly schema?: string }) {
    this.#database = database
    this.#schema = quotedSchema(schema)
  }

  async count(key: ErasedKey): Promise<ErasureCount> {
    let count = 0
    for await (const { records } of this.#batches(key)) count += records.filter((record) => isToErase(record, key)).length
    return { count }
  }

  async erase(key: ErasedKey): Promise<ErasureCount> {
    let count = 0
    for (let isDone = false; !isDone;) {
      isDone = true
      for await (const batch of this.#batches(key)) {
        const erased = batch.records.filter((record) => isToErase(record, key)).length
        if (erased === 0) continue
        // Somebody else has changed it since: what it holds now is looked at in another round.
        if (await this.#replace(batch, key)) count += erased
        else isDone = false
      }
    }
    return { count }
  }

  async #replace({ place, body, records }: StoredBatch, key: ErasedKey): Promise<boolean> {
    const writer = new BatchWriter(body.length)
    writer.write(records.map((record) => (isToErase(record, key) ? emptied(record) : record)))
    const [replaced] = await this.#database.use((session) =>
      session.run([replaceBatch(this.#schema, place, body, Buffer.from(writer.bytes()))]),
    )
    return replaced!.count === 1
  }

  /** Ids of the key's messages, erased ones included. */
  async messageIds(key: ErasedKey): Promise<readonly string[]> {
    const ids = new Set<string>()
    for await (const { records } of this.#batches(key)) {
      for (const record of records.filter((one) => isOfKey(one, key))) {
        const header = record.headers.find(([name]) => name === 'ce_id' || name === 'id')
        if (header !== undefined && header[1] !== null) ids.add(header[1].toString())
      }
    }
    return [...ids]
  }

  async *#batches(key: ErasedKey): AsyncGenerator<StoredBatch> {
    let after: BatchPlace = { topic: 0, partition: 0, offset: -1 }
    for (;;) {
      const [found] = await this.#database.use((session) => session.run([batchesWith(this.#schema, key, after, batchPage)]))
      for (const row of found!.rows) {
        const place = { topic: Number(row['topic']), partition: Number(row['partition']), offset: Number(row['base_offset']) }
        const body = row['body'] as Buffer
        const stored = { baseOffset: place.offset, records: Number(row['records']), appendedMs: Number(row['appended_ms']), body }
        const records: LogRecord[] = []
        readBatch({ topic: String(row['name']), partition: place.partition }, stored, place.offset, records)
        yield { place, body, records }
        after = place
      }
      if (found!.rows.length < batchPage) return
    }
  }
}

function isOfKey(record: LogRecord, { key }: ErasedKey): boolean {
  return record.key?.equals(Buffer.from(key)) === true
}

function isToErase(record: LogRecord, key: ErasedKey): boolean {
  return isOfKey(record, key) && !record.headers.some(([name]) => name === erasedHeader)
}

function emptied(record: LogRecord): LogRecord {
  const kept = record.headers.filter(([name]) => keptHeaders.has(name))
  const mark: Header = [erasedHeader, new Date().toISOString()]
  return { ...record, value: null, headers: [...kept, mark] }
}
