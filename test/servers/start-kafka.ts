/** Starts a broker, says where it is and what runs, and waits to be killed. */
import { startKafka } from '../../servers/kafka.ts'

const { directory, nodes } = await startKafka()
process.stdout.write(`${JSON.stringify({ directory, pid: nodes[0]?.pid })}\n`)
setInterval(() => undefined, 60_000)
