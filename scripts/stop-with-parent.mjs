/**
 * Sends this process a SIGTERM when the process that started it is gone. A `kill -9` of npm gives npm no chance to tell us,
 * and nobody would be left to press Ctrl-C.
 */
export function stopWithParent() {
  const parent = process.ppid
  const watch = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(watch)
    process.kill(process.pid, 'SIGTERM')
  }, 500)
  watch.unref()
}
