import { listTransactionsV1 } from '@platformatic/kafka'
import type { KafkaNode } from '../../../servers/kafka-node.ts'
import type { KafkaCluster } from '../../../servers/kafka.ts'
import { Cluster, type CoordinatorKind } from '../../../src/drivers/kafka/wire/cluster.ts'
import { bootstrapNode } from '../../../src/drivers/kafka/wire/node.ts'
import { systemClock } from '../../../src/internal/clock.ts'

/** Says which node of a cluster does what at the moment, so that a test can kill just that one. */
export class NodeRoles {
  readonly #nodes: readonly KafkaNode[]
  readonly #cluster: Cluster

  constructor({ brokers, nodes }: KafkaCluster) {
    this.#nodes = nodes
    const timeouts = { connectTimeoutMs: 5_000, requestTimeoutMs: 10_000 }
    this.#cluster = new Cluster({ brokers, clientId: 'roles', ...timeouts, tls: undefined, sasl: undefined, clock: systemClock })
  }

  close(): Promise<void> {
    return this.#cluster.close()
  }

  /** `null` while there is none. */
  async leading(topic: string, partition: number): Promise<KafkaNode | null> {
    const [found] = await this.#cluster.describe([topic])
    return this.#node(found?.partitions[partition]?.leader?.id)
  }

  /** `null` while there is none, or the one that is named does not run. */
  async coordinating(kind: CoordinatorKind, key: string): Promise<KafkaNode | null> {
    this.#cluster.forgetCoordinator(kind, key)
    return this.#node((await this.#cluster.coordinator(kind, key)).id)
  }

  /** The first name that `make` comes up with whose coordinator is this node. */
  async nameCoordinatedBy(node: KafkaNode, kind: CoordinatorKind, make: () => string): Promise<string> {
    for (;;) {
      const name = make()
      if ((await this.coordinating(kind, name)) === node) return name
    }
  }

  /** The transactional id that begins so, `null` if there is none. Each coordinator knows its own only. */
  async transactionalId(prefix: string): Promise<string | null> {
    for (const node of this.#nodes) {
      const { transactionStates } = await this.#cluster.call(bootstrapNode(node.address('PLAINTEXT')), listTransactionsV1.api, [
        [],
        [],
        -1n,
        null,
      ])
      const found = transactionStates.find(({ transactionalId }) => transactionalId.startsWith(prefix))
      if (found !== undefined) return found.transactionalId
    }
    return null
  }

  #node(id: number | undefined): KafkaNode | null {
    return this.#nodes.find((node) => node.id === id && node.pid !== null) ?? null
  }
}
