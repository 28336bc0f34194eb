import { TidemarkError } from '../errors.ts'
import { type Coordinate, formatCoordinate } from '../message/coordinate.ts'
import type { RelayState } from './port.ts'

/**
 * Is this database an earlier state of the one that sent what the broker holds? A tick is durable before its first message is sent, so a tick
 * on the wire above the stored one is proof. A clone that has not fallen behind is seen by the server's identifier or the database's oid.
 */
export function restoredError(state: RelayState, last: Coordinate | null): TidemarkError | null {
  if (state.moved !== null) return restored(`it was kept elsewhere before: ${state.moved}`, state, last)
  if (last === null || !isAbove(last, state)) return null
  return restored(`the broker holds ${formatCoordinate(last)}, and the database knows no tick after ${state.tick}`, state, last)
}

/** The broker knows a newer owner than the database has ever had. */
export function newerOwnerError(state: RelayState, cause: unknown): TidemarkError {
  return restored(`the broker knows an owner after epoch ${state.epoch}, and the database none`, state, null, cause)
}

/** By life, then generation, then tick. Within one life of a source neither ever goes back. */
function isAbove(last: Coordinate, state: RelayState): boolean {
  const lives = lifeOf(last.sourceEpoch) - lifeOf(state.sourceEpoch)
  if (lives !== 0) return lives > 0
  return last.generation === state.generation ? last.tick > state.tick : last.generation > state.generation
}

/** `<source id>.<life>` */
function lifeOf(sourceEpoch: string): number {
  return Number(sourceEpoch.slice(sourceEpoch.lastIndexOf('.') + 1))
}

function restored(why: string, state: RelayState, last: Coordinate | null, cause?: unknown): TidemarkError {
  return new TidemarkError('RELAY_RESTORED_DATABASE', `The outbox of this database was restored or copied: ${why}. Nothing was sent.`, {
    ...(cause === undefined ? {} : { cause }),
    details: { stream: state.stream, tick: state.tick, wire: last === null ? null : formatCoordinate(last) },
    remedy:
      'Stop the other copy, if it still runs. Then: tidemark outbox rebase. It gives this database a new life on the wire and leaves out what is there already.',
  })
}
