import { type Handler, type HandlerContext, type HandlerOptions, onMessage } from '../../../src/consumer/index.ts'
import type { Message } from '../../../src/message/index.ts'
import { Counted, insertEffect } from '../../consumer/support/counted.ts'

type Counting = Message<{ readonly key: string; readonly n: number }>

/** A handler that counts, before or after something that may fail. */
export function counting(
  trouble: (message: Counting, context: HandlerContext) => unknown,
  { effectFirst = false, ...options }: HandlerOptions & { readonly effectFirst?: boolean } = {},
): Handler {
  const count = ({ id, data }: Counting, { tx }: HandlerContext): Promise<unknown> => tx.query(insertEffect, [id, data.key, data.n])
  return onMessage(
    Counted,
    async (message, context) => {
      if (effectFirst) await count(message, context)
      await trouble(message, context)
      if (!effectFirst) await count(message, context)
    },
    options,
  )
}
