import { type RedriveHorizon, redriveKind } from '../dead-letter/index.ts'
import { failureOf } from '../retry/failure.ts'
import type { EventDefinition } from '../message/index.ts'
import {
  Audit,
  type OperationEvent,
  type OperationKind,
  type OperationRunner,
  type OperationStore,
  Operations,
  runOperations,
} from '../operation/index.ts'
import { channels } from '../telemetry/channels.ts'
import type { OpenService } from './open-service.ts'
import type { ServiceOptions } from './options.ts'

/** Of one service: its desk, its log, and what it can work on. */
export interface ServiceOperations {
  readonly operations: Operations
  readonly audit: Audit
  readonly kinds: readonly OperationKind[]
}

/** Before the service is open: the first use opens it. */
export function lazyOperations(
  open: () => Promise<OpenService>,
  options: ServiceOptions,
  definitions: () => readonly EventDefinition[],
  onReady: () => void,
): ServiceOperations {
  const store = lazyStore(async () => (await open()).database.operations)
  const { authorize, operations: { kinds: own = [] } = {} } = options
  const horizon = redriveHorizon(options, open)
  const kinds = [redriveKind({ store: async () => (await open()).database.deadLetters, definitions, horizon }), ...own]
  const audit = new Audit({ store, ...(authorize === undefined ? {} : { authorize }) })
  return { operations: new Operations({ store, kinds, audit, onReady }), audit, kinds }
}

/** What tells which dead letters nobody can vouch for. */
export function redriveHorizon({ consumer }: ServiceOptions, open: () => Promise<OpenService>): RedriveHorizon {
  const inbox = async (): Promise<OpenService['database']['inbox']> => (await open()).database.inbox
  return consumer?.idempotencyId === undefined ? { inbox } : { inbox, idempotencyId: consumer.idempotencyId }
}

function lazyStore(store: () => Promise<OperationStore>): OperationStore {
  return {
    record: async (...given) => (await store()).record(...given),
    listAudit: async (...given) => (await store()).listAudit(...given),
    create: async (...given) => (await store()).create(...given),
    get: async (...given) => (await store()).get(...given),
    list: async (...given) => (await store()).list(...given),
    items: async (...given) => (await store()).items(...given),
    change: async (...given) => (await store()).change(...given),
    claim: async (...given) => (await store()).claim(...given),
    forget: async (...given) => (await store()).forget(...given),
  }
}

/** Works on operations beside the consumers. `null`: this process is not to. */
export function startOperations(
  { name, database }: OpenService,
  { operations = {} }: ServiceOptions,
  { kinds, consumes }: { readonly kinds: readonly OperationKind[]; readonly consumes: boolean },
): OperationRunner | null {
  const { kinds: own = [], run = consumes || own.length > 0, ...settings } = operations
  if (!run) return null
  return runOperations({ ...settings, store: database.operations, kinds, onEvent: (event) => tell(name, event) })
}

function tell(service: string, event: OperationEvent): void {
  if (event.kind === 'left') {
    const { operation, outcome } = event
    channels.operationLeft.publish({ service, operation: operation.id, kind: operation.kind, outcome })
  } else if (event.kind === 'trouble') {
    const { errorClass } = failureOf(event.error)
    channels.operationTrouble.publish({ service, operation: event.operation?.id ?? null, errorClass })
  }
}
