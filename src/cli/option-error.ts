import { type Command, UsageError } from './command.ts'
import { suggestion } from './suggestion.ts'

/** What Node's parser objects to, in the words of this command line. */
export function optionError(error: unknown, of: string, flags: Command['flags']): UsageError {
  const message = error instanceof Error ? error.message : String(error)
  const see = `See: tidemark ${of === '' ? '' : `${of} `}--help`
  const option = /'(-[^'\s=]*)/.exec(message.replace(/'-\w, /, "'"))?.[1] ?? ''
  const typed = option.replace(/^-+/, '')
  if (/^Unknown option/.test(message)) {
    const meant = nearest(typed, Object.keys(flags))
    return new UsageError(
      `${of === '' ? 'tidemark' : of} has no option ${option}.${meant === null ? '' : ` Did you mean --${meant}?`} ${see}`,
    )
  }
  const flag = flags[typed]
  if (flag?.type === 'string') {
    const example = `--${typed}=${flag.value ?? 'VALUE'}`
    return new UsageError(`${option} takes a value: ${example}. One that begins with "-" goes behind the "=". ${see}`)
  }
  if (flag?.type === 'boolean') return new UsageError(`${option} takes no value. ${see}`)
  return new UsageError(`${message} ${see}`)
}

/** Near by its letters, or one word of it: --error-class for --class. */
function nearest(typed: string, names: readonly string[]): string | null {
  return suggestion(typed, names) ?? names.find((name) => typed.split('-').includes(name)) ?? null
}
