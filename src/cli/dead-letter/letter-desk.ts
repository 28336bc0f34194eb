import type { SplitKeys } from '../../consumer/index.ts'
import { type AlertStore, DeadLetterManager, type DeadLetterStore } from '../../dead-letter/index.ts'
import { PostgresAlertStore } from '../../drivers/postgres/postgres-alert-store.ts'
import type { PostgresDatabase } from '../../drivers/postgres/database.ts'
import { PostgresConsumerStore } from '../../drivers/postgres/postgres-consumer-store.ts'
import { PostgresDeadLetterStore } from '../../drivers/postgres/postgres-dead-letter-store.ts'
import { PostgresInboxStore, readingGroups } from '../../drivers/postgres/postgres-inbox-store.ts'
import { PostgresOperationStore } from '../../drivers/postgres/postgres-operation-store.ts'
import { TidemarkError } from '../../errors.ts'
import { Audit } from '../../operation/index.ts'
import { actorOf } from '../actor.ts'
import { type CommandContext, type CommandResult, NotFoundError, UsageError } from '../command.ts'
import { schemaOf, withDatabase } from '../connect.ts'

/** What the commands on dead letters work with. */
export interface LetterDesk {
  /** In the name of who runs this. */
  readonly manager: DeadLetterManager
  /** For looks that a manager would ask about. */
  readonly store: DeadLetterStore
  readonly alerts: AlertStore
  /** Consumer groups that have positions or were started. */
  groups(): Promise<readonly string[]>
  /** Keys that wait in several partitions, by group. */
  splitKeys(): Promise<readonly (readonly [group: string, topics: readonly SplitKeys[]])[]>
  /** Why, as the manager's methods take it. */
  readonly why: { readonly reason?: string }
}

export function withLetters<T>(context: CommandContext, work: (desk: LetterDesk) => Promise<T>): Promise<T> {
  const schema = schemaOf(context)
  const { reason } = context.flags
  return withDatabase(context, (database) => {
    const store = new PostgresDeadLetterStore({ database, schema })
    const manager = new DeadLetterManager({
      store: () => Promise.resolve(store),
      actor: actorOf(context),
      audit: new Audit({ store: new PostgresOperationStore({ database, schema }), origin: 'cli' }),
      horizon: { inbox: () => Promise.resolve(new PostgresInboxStore({ database, schema })) },
    })
    return work({
      manager,
      store,
      alerts: new PostgresAlertStore({ database, schema }),
      groups: () => readingGroups(database, schema),
      splitKeys: () => splitKeysOf(database, schema),
      why: typeof reason === 'string' ? { reason } : {},
    })
  })
}

async function splitKeysOf(database: PostgresDatabase, schema: string): ReturnType<LetterDesk['splitKeys']> {
  const { parked } = new PostgresConsumerStore({ database, schema })
  const groups = await readingGroups(database, schema)
  return Promise.all(groups.map(async (group) => [group, await parked.splitKeys(group)] as const))
}

/** Ids of letters, at least one. */
export function idsOf({ args }: CommandContext, command: string): readonly number[] {
  if (args.length === 0) throw new UsageError(`${command} takes one or more ids, as tidemark dlq list prints them.`)
  return [...new Set(args.map((arg) => idOf(arg, command)))]
}

export function oneIdOf({ args }: CommandContext, command: string): number {
  if (args.length !== 1) throw new UsageError(`${command} takes one id, as tidemark dlq list prints it.`)
  return idOf(args[0]!, command)
}

export function idOf(arg: string, command: string): number {
  if (/^\d{1,15}$/.test(arg)) return Number(arg)
  throw new UsageError(`${command}: expected the id of a letter, a whole number; got ${JSON.stringify(arg)}.`)
}

/** A letter that has to be there: exit code 4 where it is not. */
export function found<T>(id: number, letter: T | null): T {
  if (letter === null) throw new NotFoundError(`There is no dead letter ${id}.`)
  return letter
}

/**
 * Does something to each letter by itself. What was done stands: exit code 8 where some could not be, that of the first trouble where none could. `json`
 * and `text` list both.
 */
export async function forEachLetter(
  ids: readonly number[],
  done: string,
  work: (id: number) => Promise<Readonly<Record<string, unknown>> | null>,
): Promise<CommandResult> {
  const succeeded: Readonly<Record<string, unknown>>[] = []
  const failed: { readonly id: number; readonly code: string; readonly message: string }[] = []
  let first: Error | null = null
  for (const id of ids) {
    try {
      succeeded.push(found(id, await work(id)))
    } catch (error) {
      const isMissing = error instanceof NotFoundError || TidemarkError.is(error, 'DEAD_LETTER_UNKNOWN')
      // Anything else would be the same for the others.
      if (!isMissing && !TidemarkError.is(error, 'DEAD_LETTER_CONFLICT')) throw error
      first ??= error
      failed.push({ id, code: isMissing ? 'NOT_FOUND' : 'DEAD_LETTER_CONFLICT', message: error.message })
    }
  }
  if (succeeded.length === 0 && first !== null) throw first
  const lines = [`${done}: ${succeeded.map(({ id }) => String(id)).join(', ')}`, ...failed.map(({ id, message }) => `! ${id}: ${message}`)]
  return { json: { done: succeeded, failed }, text: lines.join('\n'), exitCode: failed.length === 0 ? 0 : 8 }
}
