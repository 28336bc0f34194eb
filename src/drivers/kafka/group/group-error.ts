import { TidemarkError } from '../../../errors.ts'
import { errorName, protocolError } from '../wire/protocol-error.ts'

/** What is known of the membership that was refused. */
export interface RefusedMembership {
  readonly group: string
  readonly sessionTimeoutMs: number
}

/** An error code of a group's coordinator, with what to do about it. `said` is the broker's own explanation. */
export function groupError(code: number, { group, sessionTimeoutMs }: RefusedMembership, said: string | null = null): TidemarkError {
  const kafka = errorName(code)
  const details = { group, kafka }
  const because = said === null || said === '' ? '' : ` (${said.replace(/\.$/, '')})`
  const refused = `Kafka refused the membership in group "${group}": ${kafka}${because}.`
  switch (kafka) {
    case 'INVALID_SESSION_TIMEOUT':
      return new TidemarkError('CONFIG_INVALID', `${refused} sessionTimeoutMs is ${sessionTimeoutMs}.`, {
        details: { ...details, sessionTimeoutMs },
        remedy: "Choose one between the brokers' settings group.min.session.timeout.ms and group.max.session.timeout.ms, or change those.",
      })
    case 'INCONSISTENT_GROUP_PROTOCOL':
    case 'GROUP_ID_NOT_FOUND':
      return new TidemarkError(
        'CONFIG_INVALID',
        `${refused} Its present members use another protocol or another way to share partitions.`,
        {
          details,
          remedy:
            "Stop the other members first (kafka-consumer-groups --describe --members shows them), give them the assignor 'cooperative-sticky' and this protocol, or choose another group.",
        },
      )
    case 'UNSUPPORTED_VERSION':
      return consumerProtocolMissing(`${refused}`)
    case 'INVALID_GROUP_ID':
      return new TidemarkError('INPUT_INVALID', refused, { details, remedy: 'A group needs a name.' })
    case 'GROUP_MAX_SIZE_REACHED':
      return new TidemarkError('BROKER_FAILED', refused, {
        details,
        remedy:
          "The group has as many members as the brokers' setting group.max.size (group.consumer.max.size) allows: raise it, or run fewer.",
      })
    default:
      return protocolError(code, `the membership in group "${group}"`, said)
  }
}

/** The brokers do not have the protocol of KIP-848. */
export function consumerProtocolMissing(found: string): TidemarkError {
  return new TidemarkError('CONFIG_INVALID', `The group protocol 'consumer' (KIP-848) is not to be had here. ${found}`, {
    remedy:
      "Use the protocol 'classic', or Kafka 4.0 or newer, where group.coordinator.rebalance.protocols contains consumer and the feature group.version is 1.",
  })
}
