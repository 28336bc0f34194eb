/**
 * The run's broker, kept by vitest's own process: a test file, which is a process of its own, asks for it over a socket in the run's directory.
 * The first that asks has it started; the end of the run stops it.
 *
 * @module
 */
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { text } from 'node:stream/consumers'
import { type KafkaInUse, kafkaForUse } from '../../servers/kafka.ts'

/** What the keeper says: where the brokers are, or why there are none. */
type Answer = { readonly brokers: readonly string[] } | { readonly error: string }

/** Nobody kills this broker, so that a busy machine must not make it look dead: Kafka's own default. */
const patient = { 'broker.session.timeout.ms': 9_000, 'broker.heartbeat.interval.ms': 2_000 }

/** Listens on a socket for test files that need a broker. Ends what it started when closed. */
export async function keepBroker(socket: string): Promise<{ close(): Promise<void> }> {
  let started: Promise<KafkaInUse> | null = null
  const answer = async (): Promise<Answer> => {
    started ??= kafkaForUse({ properties: patient })
    return started.then(
      ({ brokers }) => ({ brokers }),
      (error: unknown) => ({ error: error instanceof Error ? error.message : String(error) }),
    )
  }
  const server = createServer({ allowHalfOpen: true }, (asker) => {
    // Who asks may be killed while it waits.
    asker.on('error', () => undefined)
    void answer().then((said) => asker.end(JSON.stringify(said)))
  })
  server.listen(socket)
  await once(server, 'listening')
  return {
    close: async () => {
      server.close()
      await (await started?.catch(() => null))?.stop()
    },
  }
}

/** The brokers that the keeper has, once they are ready. */
export async function askForBroker(socket: string): Promise<readonly string[]> {
  const asked = connect(socket)
  const said = JSON.parse(await text(asked)) as Answer
  if ('error' in said) throw new Error(`The run's Kafka broker did not start. ${said.error}`)
  return said.brokers
}
