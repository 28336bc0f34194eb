import { PostgresInboxStore, readingGroups } from '../../drivers/postgres/postgres-inbox-store.ts'
import { PostgresLedgerStore } from '../../drivers/postgres/postgres-ledger-store.ts'
import type { InboxState, LedgerCount } from '../../inbox/index.ts'
import type { Command } from '../command.ts'
import { schemaOf, withDatabase } from '../connect.ts'
import { databaseFlags } from '../flags.ts'
import { duration, table } from '../table.ts'

export const inboxStatusCommand: Command = {
  name: 'inbox status',
  summary: 'Since when handled ids are remembered, and how calls to the outside stand',
  example: 'tidemark inbox status --json',
  flags: databaseFlags,
  run: (context) =>
    withDatabase(context, async (database) => {
      const schema = schemaOf(context)
      const state = await new PostgresInboxStore({ database, schema }).state(await readingGroups(database, schema))
      const calls = await new PostgresLedgerStore({ database, schema }).counts()
      return { json: { inbox: asJson(state), calls }, text: text(state, calls, Date.now()) }
    }),
}

function asJson({ rememberedSince, groupsWithIds, oldestForgottenLetter }: InboxState): object {
  return { rememberedSince: isoOrNull(rememberedSince), groupsWithIds, oldestForgottenLetter: isoOrNull(oldestForgottenLetter) }
}

function text({ rememberedSince, groupsWithIds, oldestForgottenLetter }: InboxState, calls: readonly LedgerCount[], now: number): string {
  const lines = [
    rememberedSince === null
      ? 'Handled ids: all are remembered, none was forgotten yet.'
      : `Handled ids: remembered since ${new Date(rememberedSince).toISOString()}, ${duration(now - rememberedSince)} back.`,
    `Groups that get messages without a coordinate: ${groupsWithIds.length === 0 ? 'none' : groupsWithIds.join(', ')}.`,
    calls.length === 0
      ? 'No calls are noted in the ledger.'
      : table(
          ['scope', 'state', 'calls'],
          calls.map(({ scope, state, entries }) => [scope, state, entries]),
        ),
  ]
  if (oldestForgottenLetter !== null) {
    const since = new Date(oldestForgottenLetter).toISOString()
    lines.push(`! a dead letter of ${since} came before that: a copy of it may have taken effect; a redrive leaves such letters alone.`)
  }
  return lines.join('\n')
}

function isoOrNull(time: number | null): string | null {
  return time === null ? null : new Date(time).toISOString()
}
