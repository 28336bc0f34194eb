import type { Purchase } from '../input/purchase.ts'
import { readPurchases } from '../input/purchase-file.ts'
import type { Settings } from './command-line.ts'
import { exitCodes, ShopError } from './shop-error.ts'

/** Reads and checks the whole file, and takes as many of its orders as were asked for. */
export async function loadInput({ input, limit }: Settings): Promise<readonly Purchase[]> {
  try {
    const purchases = await readPurchases(input)
    return limit === null ? purchases : purchases.slice(0, limit)
  } catch (cause) {
    const { code } = cause as { code?: string }
    if (code === 'ENOENT')
      throw new ShopError('INPUT_MISSING', exitCodes.notFound, `There is no file ${input}.`, 'Check --input.', { cause })
    if (code === undefined) throw cause
    throw new ShopError('INPUT_UNREADABLE', exitCodes.usage, `The file ${input} cannot be read: ${code}.`, 'Check --input.', { cause })
  }
}
