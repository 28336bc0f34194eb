import type { DeadLetterManager, Letter } from '../../dead-letter/index.ts'
import { actorFlags } from '../actor.ts'
import { type Command, type CommandContext, type CommandResult, UsageError } from '../command.ts'
import { requireYes } from '../connect.ts'
import { forEachLetter, idOf, idsOf, withLetters } from '../dead-letter/letter-desk.ts'
import { letterJson } from '../dead-letter/letter-text.ts'
import { dangerFlags, databaseFlags } from '../flags.ts'

const { 'dry-run': dryRun } = dangerFlags
const flags = { ...databaseFlags, ...actorFlags, 'dry-run': dryRun! }

export const dlqAssignCommand: Command = {
  name: 'dlq assign',
  summary: 'Say who looks after dead letters',
  example: 'tidemark dlq assign 17 18 --to ada',
  arguments: 'ID…',
  flags: { ...flags, to: { type: 'string', value: 'NAME', help: 'Whom to; - for nobody' } },
  run: (context) => {
    const { to } = context.flags
    const ids = idsOf(context, 'dlq assign')
    if (typeof to !== 'string' || to === '') throw new UsageError('dlq assign: say to whom, with --to NAME.')
    const assignee = to === '-' ? null : to
    const done = assignee === null ? 'Assigned to nobody' : `Assigned to ${to}`
    return changeAll(context, ids, 'assign', (letters, id, why) => letters.assign(id, assignee, why), done)
  },
}

export const dlqCommentCommand: Command = {
  name: 'dlq comment',
  summary: 'Add a comment to the history of a dead letter',
  example: 'tidemark dlq comment 17 "the customer was merged yesterday"',
  arguments: 'ID TEXT',
  flags,
  run: (context) => {
    const [id, text] = context.args
    if (context.args.length !== 2 || text!.trim() === '') throw new UsageError('dlq comment takes an id and a TEXT in quotes.')
    return changeAll(context, [idOf(id!, 'dlq comment')], 'comment', (letters, one, why) => letters.comment(one, text!, why), 'Commented')
  },
}

export const dlqArchiveCommand: Command = {
  name: 'dlq archive',
  summary: 'Hide dead letters that block nobody from lists and alerts',
  example: 'tidemark dlq archive 17 --reason "test data"',
  arguments: 'ID…',
  flags,
  run: (context) =>
    changeAll(context, idsOf(context, 'dlq archive'), 'archive', (letters, id, why) => letters.archive(id, why), 'Archived'),
}

export const dlqRestoreCommand: Command = {
  name: 'dlq restore',
  summary: 'Bring archived dead letters back',
  example: 'tidemark dlq restore 17',
  arguments: 'ID…',
  flags,
  run: (context) =>
    changeAll(context, idsOf(context, 'dlq restore'), 'restore', (letters, id, why) => letters.restore(id, why), 'Restored'),
}

export const dlqDiscardCommand: Command = {
  name: 'dlq discard',
  summary: 'Give dead letters up for good; the messages behind them go on',
  example: 'tidemark dlq discard 17 --reason "replaced by hand" --yes',
  arguments: 'ID…',
  flags: { ...databaseFlags, ...actorFlags, ...dangerFlags },
  run: (context) => {
    const ids = idsOf(context, 'dlq discard')
    if (context.flags['dry-run'] !== true)
      requireYes(context, `This gives up ${ids.length} message(s) for good: their consumer will never handle them.`)
    return changeAll(context, ids, 'discard', (letters, id, why) => letters.discard(id, why), 'Discarded')
  },
}

type Change = (letters: DeadLetterManager, id: number, why: { readonly reason?: string }) => Promise<Letter>

function changeAll(context: CommandContext, ids: readonly number[], verb: string, change: Change, done: string): Promise<CommandResult> {
  return withLetters(context, async ({ manager, store, why }) => {
    if (context.flags['dry-run'] === true) {
      const looked = await forEachLetter(ids, `Would be done (${verb})`, async (id) => {
        const letter = await store.get(id)
        return letter === null ? null : { id, state: letter.state, policy: letter.policy, group: letter.group }
      })
      return { ...looked, json: { dryRun: true, ...looked.json } }
    }
    return forEachLetter(ids, done, async (id) => letterJson(await change(manager, id, why)))
  })
}
