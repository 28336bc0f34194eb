import { TidemarkError } from '../../errors.ts'

/** Changes of the lane count that come between the look and the lock, or deadlocks, again and again: somebody is playing. */
const maxLooks = 20

/** Repeats what was rolled back since lanes were not what they were, or by a deadlock. Rejects with `TRANSACTION_ABORTED` where that does not end. */
export async function whileLanesChange<T>(once: () => Promise<T | 'again'>): Promise<T> {
  for (let looks = 0; looks < maxLooks; looks++) {
    const outcome = await once().catch(whetherDeadlock)
    if (outcome !== 'again') return outcome
  }
  throw new TidemarkError(
    'TRANSACTION_ABORTED',
    'The number of lanes of the partition kept changing, or others kept its keys locked in another order.',
  )
}

/** Rolled back by the server: whoever has several keys locked in an order of his own goes on, and so may this. */
function whetherDeadlock(error: unknown): 'again' {
  if (error instanceof Error && 'code' in error && error.code === '40P01') return 'again'
  throw error
}
