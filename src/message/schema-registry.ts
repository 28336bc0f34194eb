import { TidemarkError } from '../errors.ts'
import type { Codec } from './codec.ts'
import { isPromiseLike } from './eventual.ts'
import type { Eventual } from './eventual.ts'

/**
 * What stands behind the frame of the Confluent Schema Registry: a client of yours that knows schemas by their number.
 * We only put the frame on and take it off.
 */
export interface FramedCodec {
  /** Media type written to the record. @default 'application/octet-stream' */
  readonly contentType?: string
  encode(data: unknown): Framed | Promise<Framed>
  /**
   * Called before the first `decode` of a schema, to fetch it into your client's cache; not again once it has resolved, unless with `false`: the
   * registry has no such schema, and the message is undecodable. A rejection says that the registry cannot be asked now: the consumer
   * waits and tries again, charged to nobody. Without it, whatever `decode` throws makes the message undecodable, an outage too.
   * @default nothing to prepare
   */
  prepare?(schemaId: number): Promise<unknown>
  /**
   * The data from what stands behind the frame, as it came: for JSON Schema the JSON, for Avro its binary form, for Protobuf the indexes of the
   * message type and then the message. May throw; the message is then undecodable, and kept with its bytes, frame included.
   */
  decode(schemaId: number, bytes: Buffer): unknown
}

/** Bytes and the registry's number of the schema they were written with. */
export interface Framed {
  readonly schemaId: number
  readonly bytes: Buffer
}

const magicByte = 0
const frameLength = 5

/** Takes the registry's frame off: one zero byte, four bytes of schema id (big endian), then the data. `null` when there is none. */
export function readSchemaRegistryFrame(bytes: Buffer): Framed | null {
  if (bytes.length < frameLength || bytes[0] !== magicByte) return null
  return { schemaId: bytes.readUInt32BE(1), bytes: bytes.subarray(frameLength) }
}

/** A codec that frames what another codec writes, and hands it what it finds in a frame. Bytes without a frame are undecodable. */
export function schemaRegistryFraming(codec: FramedCodec): Codec {
  const prepared = new PreparedSchemas(codec)
  return {
    contentType: codec.contentType ?? 'application/octet-stream',
    encode(data) {
      const framed = codec.encode(data)
      return isPromiseLike(framed) ? Promise.resolve(framed).then(writeFrame) : writeFrame(framed)
    },
    decode(bytes) {
      const frame = readSchemaRegistryFrame(bytes)
      if (frame === null) {
        throw new TidemarkError('MESSAGE_UNDECODABLE', `Expected a schema registry frame, got ${bytes.length} bytes without one.`)
      }
      const ready = prepared.prepare(frame.schemaId)
      return ready === true
        ? codec.decode(frame.schemaId, frame.bytes)
        : Promise.resolve(ready).then(() => codec.decode(frame.schemaId, frame.bytes))
    },
  }
}

/** Each schema is asked for once, by however many messages at once, until the answer is there. Then decoding waits for nothing. */
class PreparedSchemas {
  readonly #codec: FramedCodec
  readonly #asked = new Map<number, Eventual<true>>()

  constructor(codec: FramedCodec) {
    this.#codec = codec
  }

  prepare(schemaId: number): Eventual<true> {
    if (this.#codec.prepare === undefined) return true
    const known = this.#asked.get(schemaId)
    if (known !== undefined) return known
    const asked = this.#ask(schemaId)
    this.#asked.set(schemaId, asked)
    asked.then(
      () => this.#asked.set(schemaId, true),
      () => this.#asked.delete(schemaId),
    )
    return asked
  }

  async #ask(schemaId: number): Promise<true> {
    let found: unknown
    try {
      found = await this.#codec.prepare!(schemaId)
    } catch (cause) {
      throw new TidemarkError('SCHEMA_UNAVAILABLE', `The schema ${schemaId} could not be had from the registry.`, {
        cause,
        details: { schemaId },
      })
    }
    if (found !== false) return true
    throw new TidemarkError('MESSAGE_UNDECODABLE', `Expected a schema that the registry has, got schema id ${schemaId}.`, {
      details: { schemaId },
    })
  }
}

function writeFrame({ schemaId, bytes }: Framed): Buffer {
  const frame = Buffer.allocUnsafe(frameLength + bytes.length)
  frame[0] = magicByte
  frame.writeUInt32BE(schemaId, 1)
  bytes.copy(frame, frameLength)
  return frame
}
