import { redriveConflict, requireChangeable } from '../../dead-letter/conflict.ts'
import type { Letter, LetterDetail, LetterEvent, LetterGroup } from '../../dead-letter/letter.ts'
import {
  type ChangeOptions,
  type DeadLetterStore,
  type GroupLetters,
  type LetterChange,
  type LetterContent,
  type LetterCount,
  type LetterFilter,
  type LetterHeaders,
  type LetterPage,
  type LetterRef,
  type LetterStats,
  type RedriveLetter,
  type RedriveOutcome,
  anyLetter,
} from '../../dead-letter/port.ts'
import { TidemarkError } from '../../errors.ts'
import { type PostgresDatabase, commit, rollBack } from './database.ts'
import { groupLettersOf, letterDetailOf, letterGroupOf, letterHeadersOf, letterOf, letterRefOf } from './dead-letter-rows.ts'
import { letterTransaction } from './letter-transaction.ts'
import { defaultSchema, quotedSchema } from './migrations/schema-name.ts'
import { placedLetter, redriveLetters } from './postgres-redrive.ts'
import { insertAudit } from './queries/audit.ts'
import * as changes from './queries/dead-letter-change.ts'
import * as lists from './queries/dead-letter-list.ts'
import { dequeueLetter, findLetters, lockKey, queuedOffsets, releaseKeyIfEmpty, settleKeys } from './queries/dead-letter-redrive.ts'
import type { Statement, StatementResult } from './statement-run.ts'

/** The dead letters in the service's Postgres database. Statements: `queries/dead-letter-*.ts`. */
export class PostgresDeadLetterStore implements DeadLetterStore {
  readonly #database: PostgresDatabase
  readonly #schema: string

  constructor({ database, schema = defaultSchema }: { readonly database: PostgresDatabase; readonly schema?: string }) {
    this.#database = database
    this.#schema = quotedSchema(schema)
  }

  async list(filter: LetterFilter, { limit = 50, after }: { limit?: number; after?: string } = {}): Promise<LetterPage> {
    // One more than is wanted tells whether there is a next page.
    const [result] = await this.#run([lists.listLetters(this.#schema, filter, limit + 1, after === undefined ? null : placeOf(after))])
    const rows = result!.rows.slice(0, limit)
    const last = rows.at(-1)
    const isMore = result!.rows.length > limit && last !== undefined
    return { letters: rows.map(letterOf), next: isMore ? `${String(last['id'])}@${String(last['died_text'])}` : null }
  }

  async get(id: number): Promise<LetterDetail | null> {
    const [letter, edits, events] = await this.#run([
      lists.readLetter(this.#schema, id),
      lists.readEdits(this.#schema, id),
      lists.readEvents(this.#schema, id),
    ])
    const row = letter!.rows[0]
    return row === undefined ? null : letterDetailOf(row, edits!.rows, events!.rows)
  }

  async loggedBefore(ids: readonly number[], time: number): Promise<readonly LetterHeaders[]> {
    const [result] = await this.#run([lists.lettersLoggedBefore(this.#schema, ids, time)])
    return result!.rows.map(letterHeadersOf)
  }

  async count(filter: LetterFilter): Promise<LetterCount> {
    const [result] = await this.#run([lists.countLetters(this.#schema, filter)])
    const { count, oldest, newest, keys } = result!.rows[0]!
    return { count: Number(count ?? 0), oldest: oldest as Date | null, newest: newest as Date | null, keys: Number(keys ?? 0) }
  }

  async groups(filter: LetterFilter, limit = 100): Promise<readonly LetterGroup[]> {
    const [result] = await this.#run([lists.groupLetters(this.#schema, filter, limit)])
    return result!.rows.map(letterGroupOf)
  }

  async stats(filter: LetterFilter): Promise<LetterStats> {
    const [byType, byReason, oldest] = await this.#run([
      lists.countByType(this.#schema, filter),
      lists.countByReason(this.#schema, filter),
      lists.oldestFailure(this.#schema, filter),
    ])
    const types = countsOf(byType!)
    return {
      count: [...types.values()].reduce((sum, n) => sum + n, 0),
      byType: types,
      byReason: countsOf(byReason!),
      oldestFailure: oldest!.rows[0]!['oldest'] as Date | null,
    }
  }

  async byGroup(since: Date): Promise<readonly GroupLetters[]> {
    const [result] = await this.#run([lists.lettersByGroup(this.#schema, since)])
    return result!.rows.map(groupLettersOf)
  }

  async *select(filter: LetterFilter, pageSize = 1_000): AsyncIterable<readonly LetterRef[]> {
    const session = await this.#database.lease()
    try {
      await session.run([{ text: 'begin read only' }, lists.openSelection(this.#schema, filter)])
      for (;;) {
        const [page] = await session.run([lists.fetchSelection(pageSize)])
        if (page!.rows.length === 0) return
        yield page!.rows.map(letterRefOf)
      }
    } finally {
      session.release(await rollBack(session))
    }
  }

  async change(id: number, change: LetterChange, options: ChangeOptions): Promise<Letter | null> {
    if (change.kind === 'discard') return this.#discard(id, options)
    const schema = this.#schema
    const { actor, reason } = options
    const note = (action: LetterEvent['action'], text: string | null): Statement => changes.noteEvents(schema, [id], actor, action, text)
    return this.#changeLetter(id, change.kind, options, () => {
      switch (change.kind) {
        case 'assign':
          return [note('assigned', change.assignee), changes.assignLetter(schema, id, change.assignee)]
        case 'comment':
          return [note('commented', change.text), changes.lockLetter(schema, id)]
        case 'archive':
          return [note('archived', reason ?? null), changes.archiveLetter(schema, id, true)]
        case 'restore':
          return [note('restored', reason ?? null), changes.archiveLetter(schema, id, false)]
      }
    })
  }

  async edit(id: number, content: LetterContent, options: ChangeOptions & { readonly redrive?: boolean }): Promise<Letter | null> {
    if (options.redrive === true) return this.#editAndRedrive(id, content, options)
    return this.#changeLetter(id, 'edit', options, () => this.#editing(id, content, options))
  }

  redrive(letters: readonly RedriveLetter[], { actor, reason, audit = [] }: ChangeOptions): Promise<readonly RedriveOutcome[]> {
    return redriveLetters(this.#database, this.#schema, { letters, actor, reason: reason ?? null, audit })
  }

  async #editAndRedrive(id: number, content: LetterContent, options: ChangeOptions): Promise<Letter | null> {
    const { actor, reason, version, audit = [] } = options
    const [outcome] = await redriveLetters(this.#database, this.#schema, {
      letters: [version === undefined ? { id } : { id, version }],
      actor,
      reason: reason ?? null,
      audit,
      before: () => ({
        statements: this.#editing(id, content, options),
        valueBytes: content.value === undefined ? null : (content.value?.length ?? 0),
      }),
    })
    if (outcome!.outcome === 'refused') {
      if (outcome!.reason === 'unknown') return null
      throw redriveConflict(id, outcome!.reason)
    }
    // Without the payload: what was just made of it is not asked for.
    const { letters } = await this.list({ ids: [id], ...anyLetter })
    return letters[0] ?? null
  }

  #editing(id: number, content: LetterContent, options: ChangeOptions): Statement[] {
    const schema = this.#schema
    const { actor } = options
    const reason = options.reason ?? null
    return [
      changes.keepBefore(schema, id, actor, reason),
      changes.noteEvents(schema, [id], actor, 'edited', reason),
      changes.editLetter(schema, id, content),
    ]
  }

  /** The last statement returns the letter. */
  #changeLetter(
    id: number,
    wish: LetterChange['kind'] | 'edit',
    options: ChangeOptions,
    statements: () => readonly Statement[],
  ): Promise<Letter | null> {
    return letterTransaction(this.#database, async (session) => {
      const [locked] = await session.run([changes.lockLetter(this.#schema, id)])
      const row = locked!.rows[0]
      if (row === undefined) return { end: 'undo', result: null }
      requireChangeable(letterOf(row), wish, options)
      const results = await commit(session, [...this.#lines(options), ...statements()])
      return { end: 'committed', result: letterOf(results.at(-2)!.rows[0]!) }
    })
  }

  async #discard(id: number, options: ChangeOptions): Promise<Letter | null> {
    const [found] = await this.#run([findLetters(this.#schema, [id])])
    const place = found!.rows[0]
    if (place === undefined) return null
    const schema = this.#schema
    const { actor } = options
    const reason = options.reason ?? null
    const letter = placedLetter(place)
    const { key, offset } = letter
    return letterTransaction(this.#database, async (session) => {
      const [, locked, queued] = await session.run([
        lockKey(schema, letter),
        changes.lockLetter(schema, id),
        queuedOffsets(schema, [letter]),
      ])
      const row = locked!.rows[0]
      if (row === undefined) return { end: 'undo', result: null }
      requireChangeable(letterOf(row), 'discard', options)
      // One that came again from the log waits there alive, and stays.
      const waits = queued!.rows.find(({ dead }) => dead === true)
      const results = await commit(session, [
        ...(waits === undefined
          ? []
          : [
              dequeueLetter(schema, letter, offset),
              settleKeys(schema, letter, [{ key, messages: -1, bytes: -Number(waits['bytes']) }], { removed: offset }),
              releaseKeyIfEmpty(schema, letter),
            ]),
        ...this.#lines(options),
        changes.noteEvents(schema, [id], actor, 'discarded', reason),
        changes.discardLetter(schema, id, actor, reason),
      ])
      return { end: 'committed', result: letterOf(results.at(-2)!.rows[0]!) }
    })
  }

  #lines({ audit = [] }: ChangeOptions): readonly Statement[] {
    return audit.map((line) => insertAudit(this.#schema, line))
  }

  #run(statements: readonly Statement[]): Promise<StatementResult[]> {
    return this.#database.use((session) => session.run(statements))
  }
}

/** `<id>@<time>`, as `list` gave it. */
function placeOf(after: string): lists.PlaceInList {
  const [, id, diedAt] = /^(\d+)@(\d[-\d :.+]+)$/.exec(after) ?? []
  if (id !== undefined && diedAt !== undefined) return { id: Number(id), diedAt }
  throw new TidemarkError('INPUT_INVALID', 'Expected the mark that the page before gave as `next`.')
}

function countsOf({ rows }: StatementResult): Map<string, number> {
  return new Map(rows.map((row) => [String(row['name']), Number(row['count'])]))
}
