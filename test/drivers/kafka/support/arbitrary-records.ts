import fc from 'fast-check'
import type { RecordContent } from '../../../../src/drivers/kafka/record-batch/record-size.ts'
import type { Header } from '../../../../src/message/port.ts'

const bytes: fc.Arbitrary<Buffer> = fc.uint8Array({ maxLength: 200 }).map((content) => Buffer.from(content))

const nullable: fc.Arbitrary<Buffer | null> = fc.option(bytes, { nil: null })

/** Text of every kind, and long enough for lengths of two bytes. */
const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 100 }), fc.string({ maxLength: 100 }), fc.constantFrom('id', 'type', 'ü', ''))

const header: fc.Arbitrary<Header> = fc.tuple(text, fc.oneof(bytes, text, fc.constant(null)))

const large: fc.Arbitrary<Buffer | null> = fc.integer({ min: 8_000, max: 9_000 }).map((length) => Buffer.alloc(length, 'large'))

/** Few of them are large: lengths of three bytes. */
const content: fc.Arbitrary<Buffer | null> = fc.oneof({ weight: 20, arbitrary: nullable }, { weight: 1, arbitrary: large })

export const arbitraryRecord: fc.Arbitrary<RecordContent> = fc.record({
  key: nullable,
  value: content,
  headers: fc.array(header, { maxLength: 6 }),
})

export const arbitraryRecords: fc.Arbitrary<RecordContent[]> = fc.array(arbitraryRecord, { minLength: 1, maxLength: 80 })
