/** What was read of a body. `rest`: it has more than was to be read; the stream has all of it, the part read first. */
export type BoundedBody = { readonly bytes: Buffer } | { readonly rest: ReadableStream<Uint8Array> }

/** Reads a body up to `maxBytes`. */
export async function boundedBody(body: ReadableStream<Uint8Array> | null, maxBytes: number): Promise<BoundedBody> {
  if (body === null) return { bytes: Buffer.alloc(0) }
  const reader = body.getReader()
  const chunks: Uint8Array[] = []
  let size = 0
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return { bytes: Buffer.concat(chunks) }
    chunks.push(value)
    size += value.length
    if (size > maxBytes) return { rest: together(chunks, reader) }
  }
}

function together(chunks: readonly Uint8Array[], reader: ReadableStreamDefaultReader<Uint8Array>): ReadableStream<Uint8Array> {
  let next = 0
  return new ReadableStream({
    async pull(controller) {
      const chunk = chunks[next++]
      if (chunk !== undefined) return controller.enqueue(chunk)
      const { done, value } = await reader.read()
      if (done) controller.close()
      else controller.enqueue(value)
    },
    cancel: (reason) => reader.cancel(reason),
  })
}
