import { PostgresOutboxOperations } from '../../drivers/postgres/postgres-outbox-operations.ts'
import { PostgresOperationStore } from '../../drivers/postgres/postgres-operation-store.ts'
import { Audit } from '../../operation/index.ts'
import { type RebaseReport, rebase } from '../../outbox/index.ts'
import { actorFlags, askedBy } from '../actor.ts'
import type { Command } from '../command.ts'
import { requireYes, schemaOf, withDatabase } from '../connect.ts'
import { dangerFlags, databaseFlags } from '../flags.ts'
import { brokerFlags, relayBroker } from '../relay-broker.ts'

export const outboxRebaseCommand: Command = {
  name: 'outbox rebase',
  summary: 'Let a restored or copied database go on: a new life on the wire, without what is there already',
  example: 'tidemark outbox rebase --broker postgres://localhost/tidemark_broker --dry-run',
  flags: {
    ...databaseFlags,
    ...dangerFlags,
    ...brokerFlags,
    ...actorFlags,
    'from-dump': { type: 'boolean', help: 'The rows come from pg_dump; no writer may run meanwhile' },
  },
  run: (context) =>
    withDatabase(context, async (database) => {
      const { flags } = context
      const broker = await relayBroker(context)
      try {
        const dryRun = flags['dry-run'] === true
        if (!dryRun) requireYes(context, 'No relay and no other copy of this database may run from here on.')
        const outbox = new PostgresOutboxOperations({ database, schema: schemaOf(context) })
        const work = (): Promise<RebaseReport> => rebase({ outbox, broker, dryRun, fromDump: flags['from-dump'] === true })
        const audit = new Audit({ store: new PostgresOperationStore({ database, schema: schemaOf(context) }), origin: 'cli' })
        const action = { ...askedBy(context), verb: 'outbox.rebase', target: { type: 'outbox', id: null } }
        const report = dryRun ? await work() : await audit.act(action, work, ({ onTheWire }) => ({ onTheWire }))
        const what = `${report.onTheWire} message(s) of ${report.sourceEpoch} on the wire that this database does not know as published`
        return {
          json: { dryRun, ...report },
          text: dryRun ? `Would leave out: ${what}.` : `Done. Left out by the next tick: ${what}. Start the relay.`,
        }
      } finally {
        await broker.close()
      }
    }),
}
