/**
 * kcat, a client of Kafka that shares no code with ours: it writes what we read, and prints what we wrote.
 *
 * ```ts
 * await kcatSend(brokers, 'orders', [{ key: 'k', value: '{}' }], { headers: [['ce_type', 'OrderPlaced']] })
 * const lines = await kcatRead(brokers, 'orders', 3, ['-f', '%k %s\n'])
 * ```
 *
 * @module
 */
import { once } from 'node:events'
import { buffer, text } from 'node:stream/consumers'
import { expect } from 'vitest'
import { startChild } from '../../../servers/child.ts'
import { systemPackage } from '../../support/system-packages.ts'

export const kcatAvailable = systemPackage('kcat')

export interface KcatResult {
  readonly code: number | null
  readonly stdout: Buffer
  readonly stderr: string
}

export interface KcatOptions {
  /** @default nothing */
  readonly input?: string | Buffer
  /** Told how to end it at once, once it runs. */
  readonly started?: (kill: () => void) => void
  /** Keep its input open, so that it waits for more. It reads blocks of some KiB, and sends whole ones only. @default false */
  readonly waits?: boolean
}

/** Runs it to its end. An argument may be bytes that are no UTF-8. */
export async function kcat(args: readonly (string | Buffer)[], options: KcatOptions = {}): Promise<KcatResult> {
  // Node passes texts only; the shell's printf passes any bytes but NUL.
  const script = `exec ${[kcatAvailable.files[0]!, ...args].map(quoted).join(' ')}`
  const child = await startChild(['sh', '-c', script], { stdio: 'pipe' })
  options.started?.(() => void child.kill('SIGKILL'))
  child.stdin!.on('error', () => undefined)
  child.stdin!.write(options.input ?? '')
  if (options.waits !== true) child.stdin!.end()
  const [stdout, stderr, [code]] = await Promise.all([
    buffer(child.stdout!),
    text(child.stderr!),
    once(child, 'close') as Promise<[number | null]>,
  ])
  return { code, stdout, stderr }
}

function quoted(argument: string | Buffer): string {
  if (typeof argument === 'string') return `'${argument.replaceAll("'", `'\\''`)}'`
  const octal = [...argument].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('')
  return `"$(printf '${octal}')"`
}

export interface KcatRecord {
  /** Without NUL, which kcat takes for its end. @default none */
  readonly key?: string | Buffer | null
  /** `null` as tombstones are. */
  readonly value: string | Buffer | null
}

export interface SendOptions {
  /** Of every record. */
  readonly headers?: readonly (readonly [name: string | Buffer, value: string | Buffer | null])[]
  readonly partition?: number
  readonly compression?: 'gzip' | 'snappy' | 'lz4' | 'zstd'
  /** Settings of librdkafka. */
  readonly settings?: Readonly<Record<string, string>>
}

/** Has kcat write records. It writes empty keys and values either as such or as `null`, so that one call cannot have both. */
export async function kcatSend(
  brokers: readonly string[],
  topic: string,
  records: readonly KcatRecord[],
  options: SendOptions = {},
): Promise<void> {
  const result = await kcat(sendArguments(brokers, topic, records, options), { input: sendInput(records) })
  expect(result, result.stderr).toMatchObject({ code: 0 })
}

/** What stands between key and value, and behind a value. No record of these tests holds it. */
const behindKey = '\x1c\x1f\x1c'
const behindValue = '\x1e\x1d\x1e'

export function sendArguments(
  brokers: readonly string[],
  topic: string,
  records: readonly KcatRecord[],
  { headers = [], partition, compression, settings = {} }: SendOptions = {},
): readonly (string | Buffer)[] {
  return [
    ...['-P', '-q', '-b', brokers.join(), '-t', topic, '-D', behindValue],
    ...['-K', behindKey, ...(withNulls(records) ? ['-Z'] : [])],
    ...(partition === undefined ? [] : ['-p', String(partition)]),
    ...(compression === undefined ? [] : ['-z', compression]),
    ...Object.entries(settings).flatMap(([name, value]) => ['-X', `${name}=${value}`]),
    ...headers.flatMap(([name, value]) => ['-H', value === null ? name : joined(name, value)]),
  ]
}

/** The records as kcat reads them from its input. */
export function sendInput(records: readonly KcatRecord[]): Buffer {
  const parts = records.flatMap(({ key, value }) => [key ?? '', behindKey, value ?? '', behindValue])
  return Buffer.concat(parts.map((part) => Buffer.from(part)))
}

function withNulls(records: readonly KcatRecord[]): boolean {
  return records.some(({ key, value }) => (key ?? null) === null || value === null)
}

function joined(name: string | Buffer, value: string | Buffer): string | Buffer {
  if (typeof name === 'string' && typeof value === 'string') return `${name}=${value}`
  return Buffer.concat([Buffer.from(name), Buffer.from('='), Buffer.from(value)])
}

/** What kcat prints of the first records of a topic, as it is told to print. */
export async function kcatRead(brokers: readonly string[], topic: string, count: number, as: readonly string[]): Promise<Buffer> {
  const result = await kcat(['-C', '-q', '-u', '-b', brokers.join(), '-t', topic, '-o', 'beginning', '-c', String(count), ...as])
  expect(result, result.stderr).toMatchObject({ code: 0 })
  return result.stdout
}
