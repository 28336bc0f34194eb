const lineIntervalMs = 10_000

/** What happens meanwhile, on stderr: one line that changes in a terminal, else a line every ten seconds. */
export interface Progress {
  /** Another part of the work begins: shown at once. */
  step(text: string): void
  /** Shown when it is time. */
  update(text: () => string): void
  /** A line that stays. */
  say(text: string): void
  /** Takes the changing line away. */
  end(): void
}

export function progressOn(stream: NodeJS.WriteStream): Progress {
  const changes = stream.isTTY && process.env['TERM'] !== 'dumb'
  const intervalMs = changes ? 200 : lineIntervalMs
  let last = performance.now()
  let open = false
  const clear = (): void => {
    if (open) stream.write('\r\u001b[K')
    open = false
  }
  const show = (text: string): void => {
    last = performance.now()
    clear()
    stream.write(changes ? text : `${text}\n`)
    open = changes
  }
  return {
    step: show,
    update(text) {
      if (performance.now() - last >= intervalMs) show(text())
    },
    say(text) {
      clear()
      stream.write(`${text}\n`)
    },
    end: clear,
  }
}
