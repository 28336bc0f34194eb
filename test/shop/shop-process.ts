import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { keptKafka } from '../../servers/kept-kafka.ts'
import { onConnection } from '../../src/drivers/postgres/embedded/connection.ts'
import { homeAt } from '../../src/drivers/postgres/embedded/home.ts'
import { embedded } from '../../src/drivers/postgres/embedded/index.ts'
import { findPostmaster } from '../../src/drivers/postgres/embedded/postmaster.ts'
import { currentData } from '../../src/drivers/postgres/embedded/site.ts'
import { endsWithin, signal } from '../../src/drivers/postgres/embedded/stop.ts'
import { type ChildProgram, type Ending, startProgram } from '../support/child-program.ts'

const program = new URL('../../examples/shop/main.ts', import.meta.url)

/** A folder in which the shop has its server, as in a project. Each test has its own. */
export class ShopFolder {
  readonly path: string
  /** Added to the environment of its shops. */
  readonly environment: NodeJS.ProcessEnv
  readonly #running = new Set<ChildProgram>()

  private constructor(path: string, environment: NodeJS.ProcessEnv) {
    this.path = path
    this.environment = environment
  }

  /** Its shops see no `KAFKA_BROKERS` unless it is given. */
  static async make(environment: NodeJS.ProcessEnv = {}): Promise<ShopFolder> {
    const path = await mkdtemp(join(tmpdir(), 'tidemark-shop-'))
    // Under root the server runs as another user and must be able to pass through.
    await chmod(path, 0o755)
    await writeFile(join(path, 'package.json'), '{}')
    return new ShopFolder(path, { NO_COLOR: '1', KAFKA_BROKERS: '', ...environment })
  }

  get #kafka() {
    return keptKafka({ directory: join(this.path, '.tidemark', 'kafka') })
  }

  get #serverDirectory(): string {
    return join(this.path, '.tidemark', 'postgres')
  }

  start(...args: readonly string[]): ChildProgram {
    const running = startProgram(program, args, { cwd: this.path, env: this.environment })
    this.#running.add(running)
    void running.ended.then(() => this.#running.delete(running))
    return running
  }

  run(...args: readonly string[]): Promise<Ending> {
    return this.start(...args).ended
  }

  async write(name: string, text: string | Uint8Array): Promise<string> {
    const path = join(this.path, name)
    await writeFile(path, text)
    return path
  }

  /** Resolves once so many orders are placed, as the database of `orders` says. */
  async untilOrders(count: number, database = 'shop_orders'): Promise<void> {
    const lease = await embedded({ directory: this.#serverDirectory }).acquire()
    try {
      for (;;) {
        const placed = await onConnection(lease.connection(database), (client) => client.query('select count(*)::int as n from orders'))
          .then(({ rows }) => (rows as { n: number }[])[0]!.n)
          .catch(() => 0)
        if (placed >= count) return
        await sleep(20)
      }
    } finally {
      await lease.release()
    }
  }

  /** Gives each database of this prefix a name that begins with another one, as the first step of `--fresh` does. */
  async setAside(prefix: string, droppedPrefix: string): Promise<number> {
    const lease = await embedded({ directory: this.#serverDirectory }).acquire()
    try {
      return await onConnection(lease.connection('postgres'), async (client) => {
        const { rows } = await client.query<{ datname: string }>('select datname from pg_database where datname ^@ $1', [prefix])
        for (const [i, { datname }] of rows.entries()) await client.query(`alter database ${datname} rename to ${droppedPrefix}${i}`)
        return rows.length
      })
    } finally {
      await lease.release()
    }
  }

  /** Ends the first process of the embedded server as `kill -9` does, and waits until it is gone. `false` when none ran. */
  async killServer(): Promise<boolean> {
    const postmaster = await findPostmaster(await currentData(homeAt(this.#serverDirectory)))
    if (postmaster === null) return false
    signal(postmaster, 'SIGKILL')
    return endsWithin(postmaster, 10_000)
  }

  /** Is a Kafka broker of this folder running? */
  async hasKafka(): Promise<boolean> {
    return (await this.#kafka.broker()) !== null
  }

  /** Keeps the folder's Kafka broker running, as another shop would. */
  async keepKafka(): Promise<AsyncDisposable> {
    const lease = await this.#kafka.acquire()
    return { [Symbol.asyncDispose]: () => lease.release() }
  }

  /** Ends the folder's Kafka broker as `kill -9` does, and waits until it is gone. `false` when none ran. */
  async killKafka(): Promise<boolean> {
    const broker = await this.#kafka.broker()
    if (broker === null) return false
    signal(broker, 'SIGKILL')
    return endsWithin(broker, 10_000)
  }

  /** Ends what still runs, and removes servers and folder. */
  async remove(): Promise<void> {
    for (const running of this.#running) await running.kill()
    const server = embedded({ directory: this.#serverDirectory })
    await server.stop({ mode: 'immediate' })
    await server.remove()
    await this.#kafka.remove()
    await rm(this.path, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** The purchases that come with the example. */
export function sample(): Promise<string> {
  return readFile(new URL('../../examples/shop/data/cdnow-sample.txt', import.meta.url), 'utf8')
}
