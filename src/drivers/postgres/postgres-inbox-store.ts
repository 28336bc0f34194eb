import type { InboxState, InboxStore } from '../../inbox/port.ts'
import { rememberedSince } from '../../inbox/ring.ts'
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

  state(groups: readonly string[]): Promise<InboxState> {
    return this.#database.use(async (session) => {
      const [ring, found] = await session.run([readRing(this.#schema), groupsWithIds(this.#schema, groups)])
      const { current, since, has_turned: hasTurned, began } = ring!.rows[0]!
      const remembered = rememberedSince({
        current: Number(current),
        since: Number(since),
        hasTurned: hasTurned === true,
        began: began as (number | null)[],
      })
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

/** All groups that ever read a topic, by the tables of this schema. */
export async function readingGroups(database: PostgresDatabase, schema: string): Promise<readonly string[]> {
  const { text } = allReadingGroups(quotedSchema(schema))
  return (await database.query(text)).map(({ name }) => String(name))
}
