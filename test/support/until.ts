/**
 * Waits until a condition holds. Looks every few milliseconds: what it waits for is in another process or in the database. A look that takes long is
 * followed by a longer pause, so that looking does not take the processor from those it waits for.
 */
export async function until(what: string, holds: () => Promise<boolean> | boolean, limitMs = 30_000): Promise<void> {
  const deadline = performance.now() + limitMs
  for (;;) {
    const begun = performance.now()
    if (await holds()) return
    const now = performance.now()
    if (now > deadline) throw new Error(`Waited ${limitMs} ms in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, Math.min(Math.max(5, 3 * (now - begun)), 100)))
  }
}
