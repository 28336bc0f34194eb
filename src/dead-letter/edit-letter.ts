import { TidemarkError } from '../errors.ts'
import type { EventDefinition, EventInput } from '../message/event.ts'
import type { Header, LogRecord } from '../message/port.ts'
import { readEnvelope } from '../message/read-envelope.ts'
import type { Letter, LetterDetail } from './letter.ts'
import type { ChangeOptions, DeadLetterStore, LetterContent } from './port.ts'
import { schemaProblem } from './schema-problem.ts'
import { unknownLetter } from './conflict.ts'

export interface EditOptions<Definition extends EventDefinition> extends ChangeOptions {
  /** What the message is to be after the edit. `null`: whatever it is; then `content` is held against nothing. */
  readonly event: Definition | null
  /** New data, in the event's present version. Exactly one of `data` and `content`. */
  readonly data?: EventInput<Definition>
  /** New bytes, new headers, or both, as they are to stand in the record. */
  readonly content?: LetterContent
  /** Give it back to its consumer in the same transaction. @default false */
  readonly redrive?: boolean
}

/**
 * Edits a dead letter, if a handler of the event could take it then: it is decoded, upcast and held against the present schema first, and rejects with
 * `EVENT_INVALID`, `MESSAGE_UNDECODABLE`, `EVENT_UNKNOWN_VERSION` or `INPUT_INVALID` where it could not. The id of the message stays. What stood there is
 * kept, over any number of edits.
 *
 * Of two edits on the same sight of a letter the second rejects with `DEAD_LETTER_CONFLICT`; without `version` the sight is the one of this call.
 */
export async function editLetter<Definition extends EventDefinition>(
  store: DeadLetterStore,
  id: number,
  options: EditOptions<Definition>,
): Promise<Letter> {
  const { event, actor, reason, redrive = false, audit = [] } = options
  if ((options.data === undefined) === (options.content === undefined)) {
    const came = options.data === undefined ? 'neither' : 'both'
    throw new TidemarkError('INPUT_INVALID', `An edit takes data or content; got ${came}.`)
  }
  const letter = await store.get(id)
  if (letter === null) throw unknownLetter(id)
  const content = options.content ?? (await contentOf(letter, requiredEvent(event), options.data))
  if (event !== null) await requireReadable(letter.record, { ...letter.record, ...content }, event)
  const seen = { actor, audit, version: options.version ?? letter.version, redrive, ...(reason === undefined ? {} : { reason }) }
  const edited = await store.edit(id, content, seen)
  if (edited === null) throw unknownLetter(id)
  return edited
}

function requiredEvent(event: EventDefinition | null): EventDefinition {
  if (event !== null) return event
  throw new TidemarkError('INPUT_INVALID', 'An edit of the data takes the event whose they are; got null.', {
    remedy: 'Give content instead.',
  })
}

async function requireReadable(before: LogRecord, after: LogRecord, event: EventDefinition): Promise<void> {
  const problem = await schemaProblem(after, event)
  if (problem !== null) throw problem
  if (readEnvelope(before).identity !== readEnvelope(after).identity) {
    throw new TidemarkError('INPUT_INVALID', 'An edit cannot change the id or the source of a message.', {
      remedy: 'Leave the headers that name them as they are; publish another message where another one is meant.',
    })
  }
}

/** Data in the place of the record's value. */
async function contentOf(letter: LetterDetail, event: EventDefinition, data: unknown): Promise<LetterContent> {
  if (readEnvelope(letter.record).parsed !== undefined) {
    throw new TidemarkError('INPUT_INVALID', `The message of the dead letter ${letter.id} carries its data within an envelope of JSON.`, {
      remedy: 'Give the whole value as content instead of data.',
    })
  }
  const headers = withHeader(letter.record.headers, 'ce_schemaversion', String(event.version))
  return { value: await event.codec.encode(data), headers: withHeader(headers, 'content-type', event.codec.contentType) }
}

function withHeader(headers: readonly Header[], name: string, value: string): readonly Header[] {
  return [...headers.filter(([one]) => one !== name), [name, value]]
}
