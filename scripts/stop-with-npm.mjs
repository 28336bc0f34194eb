/**
 * Under npm: sends this process a SIGTERM when npm is gone. A `kill -9` gives npm no chance to tell us, and nobody would be left to press Ctrl-C.
 * Started by hand, a process may outlive its starter, as with `nohup`.
 */
export function stopWithNpm() {
  if (process.env['npm_lifecycle_event'] === undefined) return
  const parent = process.ppid
  const watch = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(watch)
    process.kill(process.pid, 'SIGTERM')
  }, 500)
  watch.unref()
}
