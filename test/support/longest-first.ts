import { relative } from 'node:path'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** The files that take longest, the longest first. Where one of them begins last, the other processes have nothing to do until it ends. */
export const longest: readonly string[] = [
  'test/shop/kafka-crash.test.ts',
  'test/kafka/broker-restart.test.ts',
  'test/shop/crash.test.ts',
  'test/kafka/competing.test.ts',
  'test/servers/kafka-faults.test.ts',
  'test/shop/kafka.test.ts',
  'test/kafka/leader-change.test.ts',
  'test/shop/live.test.ts',
  'test/kafka/zombie-relay.test.ts',
  'test/kafka/zombie-consumer.test.ts',
  'test/shop/totals.test.ts',
  'test/simulation/simulation.test.ts',
  'test/outbox/crash-points.test.ts',
  'test/conformance/kafka.test.ts',
  'test/shop/kafka-cluster.test.ts',
  'test/kafka/security.test.ts',
  'test/crash/consumer.test.ts',
  'test/examples/first-program.test.ts',
  'test/kafka/relay-crash.test.ts',
  'test/outbox/race.test.ts',
  'test/drivers/kafka/group-faults.test.ts',
  'test/kafka/rebalance-storm.test.ts',
  'test/kafka/lost-reply.test.ts',
  'test/shop/interrupt.test.ts',
  'test/kafka/crash-points.test.ts',
  'test/interop/foreign-load.test.ts',
  'test/interop/debezium.test.ts',
  'test/service/secrets.test.ts',
  'test/servers/kept-kafka.test.ts',
  'test/conformance/postgres.test.ts',
  'test/servers/maven.test.ts',
  'test/embedded/root.test.ts',
]

/** Begins with the longest files, goes on in vitest's own order, and ends with what shares processes. */
export class LongestFirst extends BaseSequencer {
  override async sort(specifications: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(specifications)
    return sorted
      .map((specification) => ({ specification, rank: this.#rank(specification) }))
      .sort((one, other) => one.rank - other.rank)
      .map(({ specification }) => specification)
  }

  #rank({ moduleId, project }: TestSpecification): number {
    if (!project.config.isolate) return longest.length + 1
    const place = longest.indexOf(relative(this.ctx.config.root, moduleId).replaceAll('\\', '/'))
    return place === -1 ? longest.length : place
  }
}
