import type { Clock } from '../../internal/clock.ts'
import type { Surroundings } from './surroundings.ts'

/** How a call goes. `late`: its error comes first, and then it is carried out. */
type Fate = 'done' | 'lost request' | 'lost reply' | 'late' | 'crash before' | 'crash after'

/**
 * A process of its own: its clock, and the way all its calls to database and broker take. It can stand still for a while, without noticing, or
 * end at any call; nothing it waited for comes back then. What was asked of a server before goes on there all the same.
 */
export class SimulatedProcess {
  readonly name: string
  readonly clock: Clock
  readonly #world: Surroundings
  #state: 'running' | 'frozen' | 'dead' = 'running'
  #waiting: (() => void)[] = []
  readonly #onDeath: (() => void)[] = []

  constructor(world: Surroundings, name: string) {
    this.#world = world
    this.name = name
    const { clock } = world.schedule
    this.clock = { now: clock.now, elapsed: clock.elapsed, random: clock.random, after: (ms, fn) => this.#after(ms, fn) }
  }

  get isDead(): boolean {
    return this.#state === 'dead'
  }

  /** What the world notices of its end. */
  whenDead(notice: () => void): void {
    this.#onDeath.push(notice)
  }

  /** Ends it between two instructions. */
  kill(): void {
    if (this.isDead) return
    this.#state = 'dead'
    this.#waiting = []
    this.#world.trace.note(this.name, 'dies')
    for (const notice of this.#onDeath) notice()
  }

  /** Lets it stand still for so long. */
  freeze(ms: number): void {
    if (this.#state !== 'running') return
    this.#state = 'frozen'
    this.#world.trace.note(this.name, `stands still for ${Math.round(ms)} ms`)
    this.#world.schedule.after(ms, () => {
      if (this.isDead) return
      this.#state = 'running'
      this.#world.trace.note(this.name, 'goes on')
      for (const go of this.#waiting.splice(0)) this.#world.schedule.after(0, () => this.#whenAwake(go))
    })
  }

  /** Takes a call to a server and its answer back. `lost` is the error of a broken connection. */
  call<T>(what: string, work: () => Promise<T>, lost: () => Error): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#whenAwake(() => this.#send(what, work, { resolve, reject, lost }))
    })
  }

  #send<T>(
    what: string,
    work: () => Promise<T>,
    answer: { resolve: (value: T) => void; reject: (error: unknown) => void; lost: () => Error },
  ): void {
    const { schedule, trace } = this.#world
    const fate = this.#fate()
    if (fate !== 'done') trace.note(this.name, `${what}: ${fate}`)
    if (fate === 'crash before') return this.kill()
    if (fate === 'lost request' || fate === 'late') this.#reply(() => answer.reject(answer.lost()))
    if (fate === 'lost request') return
    const delay = fate === 'late' ? this.#world.chance.whole(1, 4_000) : this.#latency()
    schedule.after(delay, () => {
      trace.note(this.name, what)
      work().then(
        (value) => {
          if (fate === 'done') this.#reply(() => answer.resolve(value))
          if (fate === 'lost reply') this.#reply(() => answer.reject(answer.lost()))
          if (fate === 'crash after') this.kill()
        },
        (error: unknown) => this.#reply(() => answer.reject(error)),
      )
    })
  }

  #fate(): Fate {
    const { chance, faulty, plan } = this.#world
    if (!faulty) return 'done'
    if (chance.isSo(plan.freeze)) this.freeze(chance.pick([20, 300, 3_000, 8_000]))
    const dice = chance.number()
    const { crash, lostRequest, lostReply, late } = plan
    if (dice < crash / 2) return 'crash before'
    if (dice < crash) return 'crash after'
    if (dice < crash + lostRequest) return 'lost request'
    if (dice < crash + lostRequest + lostReply) return 'lost reply'
    return dice < crash + lostRequest + lostReply + late ? 'late' : 'done'
  }

  #reply(go: () => void): void {
    this.#world.schedule.after(this.#latency(), () => this.#whenAwake(go))
  }

  #latency(): number {
    const { chance, faulty, plan } = this.#world
    return faulty && chance.isSo(plan.slow) ? chance.number() * 600 : chance.number() * 2
  }

  #whenAwake(go: () => void): void {
    if (this.#state === 'running') go()
    else if (this.#state === 'frozen') this.#waiting.push(go)
  }

  #after(ms: number, fn: () => void): () => void {
    let cancelled = false
    const cancel = this.#world.schedule.after(ms, () =>
      this.#whenAwake(() => {
        if (!cancelled) fn()
      }),
    )
    return () => {
      cancelled = true
      cancel()
    }
  }
}
