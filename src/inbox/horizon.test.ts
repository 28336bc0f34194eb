import { describe, expect, test } from 'vitest'
import type { LogRecord } from '../message/port.ts'
import { type HorizonInput, dedupHorizon, isWithinHorizon, requireWithinHorizon } from './horizon.ts'

const day = 24 * 3_600_000
const now = 1_750_000_000_000
const input: HorizonInput = { now, dedupMs: 7 * day, rememberedSince: now - 8 * day, topics: [], oldestDeadLetter: null }

describe('the dedup horizon', () => {
  test('is what is set, or what is really remembered where that is less', () => {
    expect(dedupHorizon(input).recognisedMs).toBe(7 * day)
    expect(dedupHorizon({ ...input, rememberedSince: null }).recognisedMs).toBe(7 * day)
    expect(dedupHorizon({ ...input, rememberedSince: now - 2 * day }).recognisedMs).toBe(2 * day)
    expect(dedupHorizon({ ...input, rememberedSince: now + 5 }).recognisedMs).toBe(0)
  })

  test('is exceeded by topics that keep messages without coordinates for longer', () => {
    const topics = [
      { topic: 'foreign', retentionMs: 30 * day, producedWith: 'id' },
      { topic: 'for ever', retentionMs: Infinity, producedWith: 'unknown' },
      { topic: 'short', retentionMs: 7 * day, producedWith: 'id' },
      { topic: 'ours', retentionMs: Infinity, producedWith: 'coordinate' },
      { topic: 'who knows', retentionMs: null, producedWith: 'id' },
    ] as const
    expect(dedupHorizon({ ...input, topics }).exceededBy).toEqual([
      { what: 'topic', ...topics[0] },
      { what: 'topic', ...topics[1] },
    ])
  })

  test('is exceeded by dead letters that came before it', () => {
    const beyond = dedupHorizon({ ...input, oldestDeadLetter: now - 9 * day })
    expect(beyond.exceededBy).toEqual([{ what: 'dead letter', loggedAt: now - 9 * day }])
    expect(dedupHorizon({ ...input, oldestDeadLetter: now - 8 * day }).exceededBy).toEqual([])
    expect(dedupHorizon({ ...input, rememberedSince: null, oldestDeadLetter: 0 }).exceededBy).toEqual([])
  })
})

function record(timestamp: number, headers: LogRecord['headers']): LogRecord {
  return { topic: 't', partition: 0, offset: 5, timestamp, key: null, value: Buffer.from('{}'), headers }
}

describe('handling a record again', () => {
  const rememberedSince = now
  const foreign: LogRecord['headers'] = [
    ['ce_id', 'o-1'],
    ['ce_source', '/legacy'],
  ]

  test('is refused beyond the horizon, where its id alone tells a repeat, and can be forced by name', () => {
    const old = record(now - 1, foreign)
    expect(isWithinHorizon(old, { rememberedSince })).toBe(false)
    expect(() => requireWithinHorizon(old, { rememberedSince })).toThrow(/t\/0\/5 came .* remembered since 2025-06-15T15:06:40.000Z only/)
    expect(() => requireWithinHorizon(old, { rememberedSince, forcedBy: '' })).toThrow('force it by name')
    expect(() => requireWithinHorizon(old, { rememberedSince, forcedBy: 'ada' })).not.toThrow()
  })

  test.each<[what: string, record: LogRecord, since: number | null]>([
    ['within it', record(now, foreign), rememberedSince],
    ['where nothing was forgotten', record(0, foreign), null],
    ['of a message with a coordinate', record(0, [...foreign, ['tidemark-coordinate', 'test.1/1/0/5/9']]), rememberedSince],
    ['of a message without an id', record(0, []), rememberedSince],
  ])('is fine %s', (_what, fine, since) => {
    expect(isWithinHorizon(fine, { rememberedSince: since })).toBe(true)
  })
})
