import { TidemarkError } from '../errors.ts'
import type { Codec } from './codec.ts'
import { isPromiseLike } from './eventual.ts'

/**
 * What stands behind the frame of the Confluent Schema Registry: a client of yours that knows schemas by their number.
 * We only put the frame on and take it off.
 */
export interface FramedCodec {
  /** Media type written to the record. @default 'application/octet-stream' */
  readonly contentType?: string
  encode(data: unknown): Framed | Promise<Framed>
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
      return codec.decode(frame.schemaId, frame.bytes)
    },
  }
}

function writeFrame({ schemaId, bytes }: Framed): Buffer {
  const frame = Buffer.allocUnsafe(frameLength + bytes.length)
  frame[0] = magicByte
  frame.writeUInt32BE(schemaId, 1)
  bytes.copy(frame, frameLength)
  return frame
}
