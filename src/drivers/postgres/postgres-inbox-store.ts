import type { InboxState, InboxStore } from '../../inbox/port.ts'
import { rememberedSince } from '../../inbox/ring.ts'
import type { Row } from '../../message/transaction.ts'
import type { PostgresDatabase } from './database.ts'
import { quotedSchema } from './migrations/schema-name.ts'
import { allReadingGroups, groupsWithIds, oldestLetterBefore, readRing } from './queries/inbox.ts'

/** What the inbox in the service's Postgres database can tell. */
export class PostgresInboxStore implements InboxStore {
  readonly #database: PostgresDatabase
  readonly #schema: string

  constructor({ database, schema = 'tidemark' }: { readonly database: PostgresDatabase; readonly schema?: string }) {
    this.#database = database
    this.#schema = quotedSchema(schema)
  }

  async rememberedSince(): Promise<number | null> {
    const [ring] = await this.#database.use((session) => session.run([readRing(this.#schema)]))
    return rememberedSinceOf(ring!.rows[0]!)
  }

  state(groups: readonly string[]): Promise<InboxState> {
    return this.#database.use(async (session) => {
      const [ring, found] = await session.run([readRing(this.#schema), groupsWithIds(this.#schema, groups)])
      const remembered = rememberedSinceOf(ring!.rows[0]!)
      const forgotten = remembered === null ? [] : await session.run([oldestLetterBefore(this.#schema, groups, remembered)])
      const loggedAt = forgotten[0]?.rows[0]?.['logged_at'] ?? null
      return {
        rememberedSince: remembered,
        groupsWithIds: found!.rows.map(({ name }) => String(name)),
        oldestForgottenLetter: loggedAt === null ? null : Number(loggedAt),
      }
    })
  }
}

/** A row of `readRing`. */
function rememberedSinceOf({ current, since, has_turned: hasTurned, began }: Row): number | null {
  return rememberedSince({
    current: Number(current),
    since: Number(since),
    hasTurned: hasTurned === true,
    began: began as (number | null)[],
  })
}

/** All groups that ever read a topic, by the tables of this schema. */
export async function readingGroups(database: PostgresDatabase, schema: string): Promise<readonly string[]> {
  const { text } = allReadingGroups(quotedSchema(schema))
  return (await database.query(text)).map(({ name }) => String(name))
}
