import assert from 'node:assert/strict'
import { brokerCases, brokerOffers, exercise } from '../../src/conformance/index.ts'
import { type MemoryBroker, MemoryLog, memoryBroker } from '../../src/drivers/memory/index.ts'
import { ManualClock } from './manual-clock.ts'
import { vitestRunner } from './vitest-runner.ts'

exercise(
  brokerCases,
  {
    offers: brokerOffers(memoryBroker().traits, ['trim', 'deleteTopic', 'addPartitions', 'settings']),
    async open() {
      const clock = new ManualClock()
      const log = new MemoryLog({ clock })
      const brokers: MemoryBroker[] = []
      return {
        async connect(settings) {
          const broker = memoryBroker({ log, ...settings })
          brokers.push(broker)
          return broker
        },
        elapse: (ms) => clock.advance(ms),
        trim: async () => log.trim(),
        deleteTopic: async (name) => log.deleteTopic(name),
        addPartitions: async (name, partitions) => log.addPartitions(name, partitions),
        async close() {
          await Promise.all(brokers.map((broker) => broker.close()))
          await clock.advance(0)
          assert.equal(clock.pending, 0, 'timers left')
        },
      }
    },
  },
  vitestRunner,
)
