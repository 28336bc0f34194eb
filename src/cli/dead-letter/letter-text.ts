import type { Letter, LetterDetail } from '../../dead-letter/index.ts'
import type { Header } from '../../message/port.ts'
import { duration, table } from '../table.ts'

/** Bytes for people and programs: text where they are UTF-8, else base64, which says so. */
export function shownBytes(bytes: Buffer | null): string | { readonly base64: string } | null {
  if (bytes === null) return null
  const text = bytes.toString()
  return Buffer.from(text).equals(bytes) ? text : { base64: bytes.toString('base64') }
}

export function shownHeaders(headers: readonly Header[]): readonly (readonly [string, unknown])[] {
  return headers.map(([name, value]) => [name, typeof value === 'string' ? value : shownBytes(value)] as const)
}

/** A letter in a JSON document. */
export function letterJson(letter: Letter): Readonly<Record<string, unknown>> {
  return { ...letter, key: shownBytes(letter.key) }
}

/** With everything, and the payload only where it was asked for. */
export function detailJson(letter: LetterDetail, withPayload: boolean): Readonly<Record<string, unknown>> {
  const { record, lineage, ...rest } = letter
  const content = withPayload ? { value: shownBytes(record.value) } : {}
  return {
    ...rest,
    key: shownBytes(letter.key),
    timestamp: new Date(record.timestamp).toISOString(),
    valueBytes: record.value?.length ?? null,
    headers: shownHeaders(record.headers),
    ...content,
    lineage: lineage.map(({ before, ...edit }) => ({
      ...edit,
      before: { headers: shownHeaders(before.headers), ...(withPayload ? { value: shownBytes(before.value) } : {}) },
    })),
  }
}

/** One line for each letter. */
export function letterTable(letters: readonly Letter[], now: number): string {
  const headings = ['id', 'died', 'group', 'type', 'key', 'tries', 'state', 'assignee', 'error', 'reason']
  return table(
    headings,
    letters.map((letter) => [
      letter.id,
      `${duration(now - letter.diedAt.getTime())} ago`,
      letter.group,
      letter.type,
      short(keyText(letter.key), 30),
      letter.retryCount,
      stateText(letter),
      letter.assignee,
      letter.errorClass,
      short(letter.reason, 60),
    ]),
  )
}

export function detailText(letter: LetterDetail, withPayload: boolean): string {
  const { record } = letter
  const lines: (readonly [string, string | number | null])[] = [
    ['letter', `${letter.id}, version ${letter.version}, ${stateText(letter)}`],
    ['group', letter.group],
    ['message', `${letter.type ?? 'no type'}, id ${letter.messageId ?? 'none'}`],
    ['from', `${letter.topic}/${letter.partition} at ${letter.offset}, ${new Date(record.timestamp).toISOString()}`],
    ['key', keyText(letter.key)],
    ['handler', letter.handler],
    ['policy', letter.policy === 'block' ? 'block: the messages of its key wait behind it' : 'skip: the messages of its key went on'],
    ['error', `${letter.errorClass}: ${letter.reason}`],
    ['thrown at', letter.frame],
    ['tries', `${letter.retryCount}, first ${letter.firstFailedAt.toISOString()}, last ${letter.lastFailedAt.toISOString()}`],
    ['redrives', letter.redrives],
    ['code version', letter.codeVersion],
    ['assignee', letter.assignee],
    ['fingerprint', letter.fingerprint],
    ...(letter.endedAt === null
      ? []
      : [['ended', `${letter.endedAt.toISOString()} by ${letter.endedBy ?? '-'}: ${letter.endReason ?? '-'}`] as const]),
  ]
  const sections = [
    table(['', ''], lines).split('\n').slice(1).join('\n'),
    section(
      'headers',
      shownHeaders(record.headers).map(([name, value]) => `${name}: ${plain(value)}`),
    ),
    section(
      'attempts',
      [...letter.attempts].reverse().map(({ at, error }) => `${new Date(at).toISOString()}  ${short(error, 100)}`),
    ),
    section(
      'edits',
      letter.lineage.map(
        ({ number, at, actor, reason }) => `${number}. ${at.toISOString()}  ${actor}${reason === null ? '' : `: ${reason}`}`,
      ),
    ),
    section(
      'history',
      letter.history.map(({ at, actor, action, text }) => `${at.toISOString()}  ${actor} ${action}${text === null ? '' : `: ${text}`}`),
    ),
    section('stack', letter.stack === null ? [] : [letter.stack]),
    withPayload
      ? section('payload', [plain(shownBytes(record.value))])
      : `payload: ${record.value?.length ?? 0} bytes, not shown; pass --payload to see it, which is noted`,
  ]
  return sections.filter((one) => one !== '').join('\n\n')
}

export function keyText(key: Buffer | null): string | null {
  return key === null ? null : plain(shownBytes(key))
}

export function short(text: string | null, length: number): string | null {
  if (text === null) return null
  const line = text.replaceAll(/\s+/g, ' ')
  return line.length <= length ? line : `${line.slice(0, length - 1)}…`
}

function stateText({ state, archivedAt, endedAt }: Letter): string {
  const ended = state === 'redriven' && endedAt !== null ? ' and handled' : ''
  return `${state}${ended}${archivedAt === null ? '' : ' (archived)'}`
}

function plain(value: unknown): string {
  if (typeof value === 'string') return value
  return value === null ? '-' : JSON.stringify(value)
}

function section(name: string, lines: readonly string[]): string {
  return lines.length === 0 ? '' : `${name}:\n${lines.map((line) => `  ${line}`).join('\n')}`
}
