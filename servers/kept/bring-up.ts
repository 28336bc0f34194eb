import { spawn } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { freePort } from '../../src/drivers/postgres/embedded/port.ts'
import { isAlive } from '../../src/drivers/postgres/embedded/process-identity.ts'
import { logTail, openLog } from '../../src/drivers/postgres/embedded/server-log.ts'
import { logFlags } from '../java-log.ts'
import { classPath } from '../java.ts'
import { controllerListener, nodeSettings, plainListener, propertiesFile, type Settings } from '../kafka-settings.ts'
import { nodesSeenBy } from '../nodes-seen.ts'
import { findBroker, type KeptBroker, noteBroker, readBroker } from './broker-file.ts'
import { ensureData, type KafkaPrograms, tooOld } from './data.ts'
import type { KeptHome } from './home.ts'
import { stopBroker } from './stop.ts'

export interface BringUpOptions extends KafkaPrograms {
  readonly startTimeoutMs: number
  /** The port that others know the broker by. `null`: that of the last time, or another one if it is taken. */
  readonly port: number | null
}

interface Launched {
  readonly broker: KeptBroker
  /** Where in the log its lines begin. */
  readonly since: number
  /** Resolves with how it ended, once it has. */
  readonly ended: () => Promise<string>
}

/** Somebody killed it, or asked it to stop (Java says 143 then), while it started. */
const endedFromOutside: ReadonlySet<string> = new Set(['SIGKILL', 'SIGTERM', 'exit code 143', 'exit code 0'])

const nodeId = 1
/** What is not yet read must not go by itself, however long nobody starts the broker. */
const kept: Settings = {
  'log.retention.ms': -1,
  'offsets.retention.minutes': 525_600,
  // The broker alone decides whether it is dead, and a busy machine should not make it think so; a killed one may come back after this time.
  'broker.session.timeout.ms': 3_000,
  'broker.heartbeat.interval.ms': 500,
}
/** Starts in half the time; the throughput of one shop needs no more. */
const machineFlags = ['-Xmx512m', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Djava.awt.headless=true']
const passedOn = ['PATH', 'HOME', 'JAVA_HOME', 'TMPDIR', 'LD_LIBRARY_PATH'] as const

/**
 * Makes sure that the broker runs and answers: adopts a running one, whoever started it, else starts it, with new data if there are none.
 * Callers hold the lock. Rejects with the end of its log.
 */
export async function bringUpBroker(home: KeptHome, options: BringUpOptions): Promise<KeptBroker> {
  const deadline = performance.now() + options.startTimeoutMs
  const running = await findBroker(home)
  if (running !== null && (await untilServing(home, running, 0, deadline))) return running
  const refused = new Set<number>()
  for (;;) {
    // One that nobody knows, or the other half of a start that failed.
    await stopBroker(home)
    const { broker, since, ended } = await launch(home, options, refused)
    if (await untilServing(home, broker, since, deadline)) return broker
    const log = await logTail(home.log, since)
    const ending = await ended()
    const portIsTaken = /BindException|Address already in use|Failed to bind/.test(log) && options.port === null
    if (portIsTaken) refused.add(broker.port).add(broker.controllerPort)
    if (performance.now() > deadline || !(portIsTaken || endedFromOutside.has(ending))) {
      throw failed(home, `ended while it started (${ending})`, log)
    }
  }
}

async function launch(home: KeptHome, options: BringUpOptions, refused: ReadonlySet<number>): Promise<Launched> {
  const last = await readBroker(home)
  const port = options.port ?? (await freePort(last?.port ?? null, refused))
  const controllerPort = await freePort(last?.controllerPort ?? null, new Set([...refused, port]))
  const settings = (data: string): string => {
    const place = { id: nodeId, directory: home.directory, ports: { [plainListener]: port, [controllerListener]: controllerPort } }
    return propertiesFile({ ...nodeSettings(place, [place]), 'log.dirs': data, ...kept })
  }
  const data = await ensureData(home, options, settings)
  await writeFile(home.properties, settings(data))
  const log = await openLog(home.log)
  try {
    const { size } = await log.stat()
    const child = spawn(
      options.java,
      [...machineFlags, ...logFlags('warn'), '-cp', classPath(options.jars), 'kafka.Kafka', home.properties],
      {
        // Its own session: it outlives us, and the Ctrl-C of our terminal is not its end.
        detached: true,
        stdio: ['ignore', log.fd, log.fd],
        cwd: home.directory,
        env: Object.fromEntries(passedOn.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]]))),
      },
    )
    const ending = new Promise<string>((resolve) =>
      child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code ?? 'unknown'}`)),
    )
    const ended = (): Promise<string> => {
      // Nothing else may be left to keep this process waiting for it.
      child.ref()
      return ending
    }
    const started = new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject))
    const broker = child.pid === undefined ? null : noteBroker(home, child.pid, port, controllerPort)
    await started
    child.unref()
    return { broker: broker!, since: size, ended }
  } finally {
    await log.close()
  }
}

/** Waits until the broker answers. `false` when it ended. One that takes too long is left running: the next call goes on waiting for it. */
async function untilServing(home: KeptHome, broker: KeptBroker, since: number, deadline: number): Promise<boolean> {
  while (!(await serves(broker))) {
    if (!isAlive(broker)) return false
    if (performance.now() > deadline) throw failed(home, `(process ${broker.pid}) did not answer in time`, await logTail(home.log, since))
    await delay(50)
  }
  return true
}

async function serves({ port }: KeptBroker): Promise<boolean> {
  try {
    return (await nodesSeenBy('127.0.0.1', port)).includes(nodeId)
  } catch {
    return false
  }
}

function failed(home: KeptHome, what: string, log: string): Error {
  const quoted = log === '' ? `The log ${home.log} says nothing.` : `The end of ${home.log}:\n${log}`
  return new Error(`The Kafka broker in ${home.directory} ${what}. ${tooOld(log) ?? quoted}`)
}
