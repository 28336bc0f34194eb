import { endsWithin, signal } from '../../src/drivers/postgres/embedded/stop.ts'
import { findBroker, strayBrokers } from './broker-file.ts'
import type { KeptHome } from './home.ts'

/** Past this the broker is ended at once. Its data survive that, and the next start has more to look through. */
const cleanStopMs = 20_000
const killMs = 10_000

/** Stops the broker of a home and waits for its end. Nothing happens where none runs. Callers hold the lock. */
export async function stopBroker(home: KeptHome, patienceMs = cleanStopMs): Promise<void> {
  const known = await findBroker(home)
  for (const broker of known === null ? strayBrokers(home) : [known]) {
    if (patienceMs > 0) {
      // A stopped process hears SIGTERM only when it goes on.
      signal(broker, 'SIGCONT')
      signal(broker, 'SIGTERM')
      if (await endsWithin(broker, patienceMs)) continue
    }
    signal(broker, 'SIGKILL')
    if (!(await endsWithin(broker, killMs))) throw new Error(`The Kafka broker, process ${broker.pid}, did not end when it was killed.`)
  }
}
