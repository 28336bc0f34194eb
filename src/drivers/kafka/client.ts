/**
 * The one place that loads `@platformatic/kafka`, of which the driver uses the connections, the request functions and the compressions. The package
 * is an optional peer: without it, loading `tidemark/kafka` says what to install.
 *
 * @module
 */
import type * as KafkaClient from '@platformatic/kafka'
import { TidemarkError } from '../../errors.ts'

export type { API, Connection, Reader, SASLOptions, Writer } from '@platformatic/kafka'

type Client = typeof KafkaClient

const client: Client = await import('@platformatic/kafka').catch((cause: unknown) => {
  throw new TidemarkError('CONFIG_INVALID', 'The Kafka driver needs the package @platformatic/kafka, which could not be loaded.', {
    cause,
    remedy: 'Install it: npm install @platformatic/kafka@^1.35 on Node 20, @platformatic/kafka@2 on Node 22.22 or newer.',
  })
})

export const KafkaConnection: Client['Connection'] = client.Connection
export const RequestWriter: Client['Writer'] = client.Writer
export const createAPI: Client['createAPI'] = client.createAPI
export const compressionsAlgorithms: Client['compressionsAlgorithms'] = client.compressionsAlgorithms
export const crc32c: Client['crc32c'] = client.crc32c
export const protocolErrorsCodesById: Client['protocolErrorsCodesById'] = client.protocolErrorsCodesById
export const apiVersionsV3: Client['apiVersionsV3'] = client.apiVersionsV3
export const consumerGroupHeartbeatV0: Client['consumerGroupHeartbeatV0'] = client.consumerGroupHeartbeatV0
export const createPartitionsV3: Client['createPartitionsV3'] = client.createPartitionsV3
export const createTopicsV7: Client['createTopicsV7'] = client.createTopicsV7
export const deleteTopicsV6: Client['deleteTopicsV6'] = client.deleteTopicsV6
export const describeConfigsV4: Client['describeConfigsV4'] = client.describeConfigsV4
export const describeTransactionsV0: Client['describeTransactionsV0'] = client.describeTransactionsV0
export const endTxnV3: Client['endTxnV3'] = client.endTxnV3
export const findCoordinatorV4: Client['findCoordinatorV4'] = client.findCoordinatorV4
export const heartbeatV4: Client['heartbeatV4'] = client.heartbeatV4
export const initProducerIdV4: Client['initProducerIdV4'] = client.initProducerIdV4
export const joinGroupV9: Client['joinGroupV9'] = client.joinGroupV9
export const leaveGroupV5: Client['leaveGroupV5'] = client.leaveGroupV5
export const listOffsetsV7: Client['listOffsetsV7'] = client.listOffsetsV7
export const metadataV12: Client['metadataV12'] = client.metadataV12
export const offsetCommitV9: Client['offsetCommitV9'] = client.offsetCommitV9
export const offsetFetchV8: Client['offsetFetchV8'] = client.offsetFetchV8
export const offsetForLeaderEpochV4: Client['offsetForLeaderEpochV4'] = client.offsetForLeaderEpochV4
export const saslOAuthBearer: Client['saslOAuthBearer'] = client.saslOAuthBearer
export const saslPlain: Client['saslPlain'] = client.saslPlain
export const saslScramSha: Client['saslScramSha'] = client.saslScramSha
export const syncGroupV5: Client['syncGroupV5'] = client.syncGroupV5
