import assert from 'node:assert/strict'
import { TidemarkError } from '../../../../src/errors.ts'
import type { GroupCommand, GroupEvent } from '../../../../src/drivers/kafka/group/group-event.ts'
import type { GroupProtocol, GroupSettings } from '../../../../src/drivers/kafka/group/group-protocol.ts'
import type { GroupReply, GroupRequest } from '../../../../src/drivers/kafka/group/group-request.ts'
import type { Topic } from '../../../../src/message/port.ts'

type Api = GroupRequest['api']
type RequestOf<A extends Api> = GroupRequest & { readonly api: A }

export const settings: GroupSettings = {
  group: 'g',
  topics: ['t'],
  sessionTimeoutMs: 9_000,
  drainTimeoutMs: 5_000,
  random: () => 0.5,
}

/** A protocol driven by hand: requests are answered when the test says so, and time passes when the test says so. */
export class DrivenProtocol {
  readonly protocol: GroupProtocol
  /** What the listener was told, such as `assigned t/0`; also `failed CODE`, `accepted` and `left`. */
  readonly told: string[] = []
  /** Beside the listener's: `drop` and `forget coordinator`. */
  readonly done: string[] = []
  now = 0
  topics: readonly Topic[] = [{ name: 't', id: 'id', partitions: 4 }]
  readonly #open: { readonly request: number; readonly what: GroupRequest }[] = []
  #drain = 0

  constructor(make: (now: number) => GroupProtocol) {
    this.protocol = make(0)
    this.happened({ type: 'tick' })
  }

  /** What is under way. */
  open(): Api[] {
    return this.#open.map(({ what }) => what.api)
  }

  /** Lets time pass, with every tick that is due meanwhile. */
  pass(ms: number): void {
    const end = this.now + ms
    for (let at = this.protocol.wakeAt; at <= end; at = this.protocol.wakeAt) {
      this.now = Math.max(this.now, at)
      this.happened({ type: 'tick' })
    }
    this.now = end
    this.happened({ type: 'tick' })
  }

  /** The request of this kind that is under way; the oldest, if there are more. */
  request<A extends Api>(api: A): RequestOf<A> {
    const found = this.#open.find(({ what }) => what.api === api)
    assert.ok(found !== undefined, `No ${api} is under way, but ${this.open().join() || 'nothing'}.`)
    return found.what as RequestOf<A>
  }

  /** Answers a request, and returns what was asked. */
  answer<A extends Api>(api: A, reply: Omit<GroupReply & { readonly api: A }, 'api'>): RequestOf<A> {
    const what = this.request(api)
    const whole: unknown = { api, ...reply }
    this.happened({ type: 'reply', request: this.#close(api), reply: whole as GroupReply })
    return what
  }

  describe(): void {
    const { names } = this.request('describe')
    this.answer('describe', { topics: this.topics.filter(({ name }) => names.includes(name)) })
  }

  break(api: Api): void {
    const error = new TidemarkError('BROKER_UNREACHABLE', 'no reply')
    this.happened({ type: 'rejected', request: this.#close(api), error })
  }

  /** The listener is done with what it was last asked to drain. */
  drained(drain = this.#drain): void {
    this.happened({ type: 'drained', drain })
  }

  happened(event: GroupEvent): void {
    for (const command of this.protocol.on(event, this.now)) this.#note(command)
  }

  #note(command: GroupCommand): void {
    if (command.do === 'send') this.#open.push(command)
    else if (command.do === 'revoke') this.#drain = command.drain
    if ('partitions' in command) {
      this.told.push(`${command.do} ${command.partitions.map(({ topic, partition }) => `${topic}/${partition}`).join(' ')}`)
    } else if (command.do === 'failed') this.told.push(`failed ${TidemarkError.is(command.error) ? command.error.code : 'unknown'}`)
    else if (command.do === 'accepted' || command.do === 'left') this.told.push(command.do)
    else if (command.do !== 'send') this.done.push(command.do)
  }

  #close(api: Api): number {
    this.request(api)
    const [closed] = this.#open.splice(
      this.#open.findIndex(({ what }) => what.api === api),
      1,
    )
    return closed!.request
  }
}

/** As Kafka names them. */
export function partitions(...numbers: readonly number[]): { readonly topic: string; readonly partition: number }[] {
  return numbers.map((partition) => ({ topic: 't', partition }))
}
