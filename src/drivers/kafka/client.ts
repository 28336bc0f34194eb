/**
 * The one place that loads `@platformatic/kafka`, of which the driver uses the connections, the request functions and the compressions. The package
 * is an optional peer: without it, loading `tidemark/kafka` says what to install.
 *
 * @module
 */
import { TidemarkError } from '../../errors.ts'

export type { API, Connection, Reader, SASLOptions, Writer } from '@platformatic/kafka'

const client = await import('@platformatic/kafka').catch((cause: unknown) => {
  throw new TidemarkError('CONFIG_INVALID', 'The Kafka driver needs the package @platformatic/kafka, which could not be loaded.', {
    cause,
    remedy: 'Install it: npm install @platformatic/kafka@^1.35 on Node 20, @platformatic/kafka@2 on Node 22.22 or newer.',
  })
})

export const {
  Connection: KafkaConnection,
  Writer: RequestWriter,
  createAPI,
  compressionsAlgorithms,
  crc32c,
  protocolErrorsCodesById,
  apiVersionsV3,
  consumerGroupHeartbeatV0,
  createPartitionsV3,
  createTopicsV7,
  deleteTopicsV6,
  describeConfigsV4,
  endTxnV3,
  findCoordinatorV4,
  heartbeatV4,
  initProducerIdV4,
  joinGroupV9,
  leaveGroupV5,
  listOffsetsV7,
  metadataV12,
  offsetCommitV9,
  offsetFetchV8,
  offsetForLeaderEpochV4,
  syncGroupV5,
} = client
