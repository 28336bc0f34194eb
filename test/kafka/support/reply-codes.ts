import { Reader } from '@platformatic/kafka'
import { errorName } from '../../../src/drivers/kafka/wire/protocol-error.ts'
import type { PassingReply } from './kafka-proxy.ts'

/** How a producer's request was refused, by the names of the error codes. Empty where it was not, and for requests of others. */
export function refusalsIn({ request, body }: PassingReply): readonly string[] {
  return codesIn(request, body)
    .filter((code) => code !== 0)
    .map(errorName)
}

/** In the versions that the driver uses. */
function codesIn(request: PassingReply['request'], body: Buffer): readonly number[] {
  const reader = Reader.from(body)
  reader.readTaggedFields()
  switch (request) {
    case 'produce': {
      return reader
        .readArray((topic) => {
          topic.readString()
          return topic.readArray((partition) => {
            partition.readInt32()
            const code = partition.readInt16()
            // Offset, time and start of the log.
            partition.skip(24)
            partition.readArray((error) => [error.readInt32(), error.readNullableString()])
            partition.readNullableString()
            return code
          })
        })
        .flat()
    }
    case 'enlist': {
      reader.readInt32()
      return reader
        .readArray((topic) => {
          topic.readString()
          return topic.readArray((partition) => {
            partition.readInt32()
            return partition.readInt16()
          })
        })
        .flat()
    }
    case 'producer id':
    case 'end transaction':
      reader.readInt32()
      return [reader.readInt16()]
    default:
      return []
  }
}
