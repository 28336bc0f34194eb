import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { type ErrorCode, TidemarkError } from '../../../../src/errors.ts'
import { createPartitionsV3, deleteTopicsV6 } from '../../../../src/drivers/kafka/client.ts'
import { KafkaGroupMember, type KafkaGroupMemberOptions } from '../../../../src/drivers/kafka/group/kafka-group-member.ts'
import { createTopics } from '../../../../src/drivers/kafka/topics/create-topics.ts'
import { Cluster } from '../../../../src/drivers/kafka/wire/cluster.ts'
import { systemClock } from '../../../../src/internal/clock.ts'
import type { AssignedPartition } from '../../../../src/message/port.ts'

/** Like one process: its own connections, closed after the test. */
export class TestProcess {
  readonly cluster: Cluster
  readonly #members: KafkaGroupMember[] = []

  constructor(brokers: readonly string[]) {
    this.cluster = new Cluster({
      brokers,
      clientId: 'group-test',
      connectTimeoutMs: 5_000,
      requestTimeoutMs: 10_000,
      tls: undefined,
      sasl: undefined,
      clock: systemClock,
    })
  }

  /** A member that notes what it is told, and has it drained by `drain`. It has not joined yet. */
  member(
    options: Pick<KafkaGroupMemberOptions, 'group' | 'topics' | 'protocol'> & Partial<KafkaGroupMemberOptions>,
    drain: () => Promise<void> = async () => undefined,
  ): TestMember {
    const held = new Map<string, AssignedPartition>()
    const told: string[] = []
    const failures: unknown[] = []
    const note = (what: string, partitions: readonly AssignedPartition[]): void => {
      told.push(`${what} ${partitions.map(({ partition }) => partition).join()}`)
    }
    const listener = {
      assigned(partitions: readonly AssignedPartition[]): void {
        note('assigned', partitions)
        for (const one of partitions) held.set(`${one.topic}/${one.partition}`, one)
      },
      async revoked(partitions: readonly AssignedPartition[]): Promise<void> {
        note('revoked', partitions)
        await drain()
        for (const one of partitions) held.delete(`${one.topic}/${one.partition}`)
      },
      lost(partitions: readonly AssignedPartition[]): void {
        note('lost', partitions)
        for (const one of partitions) held.delete(`${one.topic}/${one.partition}`)
      },
      failed: (error: unknown): void => void failures.push(error),
    }
    const member = new KafkaGroupMember({
      cluster: this.cluster,
      sessionTimeoutMs: 6_000,
      drainTimeoutMs: 20_000,
      clientId: 'group-test',
      listener,
      clock: systemClock,
      lane: `group ${randomUUID()}`,
      ...options,
    })
    this.#members.push(member)
    return { member, told, failures, partitions: () => [...held.values()], held: () => [...held.keys()].sort() }
  }

  async createTopic(name: string, partitions: number): Promise<void> {
    await createTopics(this.cluster, systemClock, [{ name, partitions }], {
      partitions,
      replicationFactor: 1,
      retentionMs: undefined,
      timeoutMs: 20_000,
    })
  }

  async deleteTopic(name: string): Promise<void> {
    const reply = await this.cluster.call(await this.cluster.controller(), deleteTopicsV6.api, [[{ name }], 10_000])
    assert.equal(reply.responses[0]!.errorCode, 0)
  }

  async growTopic(name: string, count: number): Promise<void> {
    const request = [{ name, count, assignments: null }]
    const reply = await this.cluster.call(await this.cluster.controller(), createPartitionsV3.api, [request, 10_000, false])
    assert.equal(reply.results[0]!.errorCode, 0)
  }

  async close(): Promise<void> {
    for (const member of this.#members) member.end()
    await this.cluster.close()
  }
}

export interface TestMember {
  readonly member: KafkaGroupMember
  /** Each call of the listener, such as `assigned 0,1`. */
  readonly told: readonly string[]
  readonly failures: readonly unknown[]
  /** What it has now, as `topic/partition`, sorted. */
  held(): string[]
  partitions(): AssignedPartition[]
}

/** Do these have every partition once, as evenly as can be? */
export function share(members: readonly TestMember[], count: number): boolean {
  const all = members.flatMap((one) => one.held())
  const sizes = members.map((one) => one.held().length)
  return all.length === count && new Set(all).size === count && Math.max(...sizes) - Math.min(...sizes) <= 1
}

/** The code of the error with which this rejects. */
export async function rejection(promise: Promise<unknown>): Promise<ErrorCode | 'none'> {
  return promise.then(
    () => 'none',
    (error: unknown) => {
      if (TidemarkError.is(error)) return error.code
      throw error
    },
  )
}
