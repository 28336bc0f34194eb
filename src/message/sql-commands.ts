/** One token at the beginning of a command: a word, folded as Postgres folds it, or a name as it was quoted. Anything else has no text. */
export interface SqlToken {
  readonly kind: 'word' | 'quoted' | 'other'
  readonly text: string
}

/** Enough for the longest command on a transaction (`rollback transaction to savepoint s`), and one to see more. */
const longest = 6

/**
 * The commands of a text, each by its first tokens, as Postgres' lexer tells them apart: a semicolon inside a literal, a comment, a dollar quote,
 * parentheses or the body of a function ends nothing, and what is empty is no command.
 *
 * `keep`: how many tokens of each command. `backslash`: what it means in a plain literal depends on the server's `standard_conforming_strings`. Where a text has both, read it both ways.
 */
export function sqlCommands(text: string, backslash: 'plain' | 'escape' = 'plain', keep = longest): readonly (readonly SqlToken[])[] {
  return new Scan(text, backslash, keep).commands()
}

const space = /[ \t\n\r\f\v]/
const word = /[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*/y
const dollarQuote = /\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$/y
/** A literal goes on after white space with a line break in it, and what a backslash means in it goes on, too. */
const continued = /(?:[ \t\f\v]|--[^\n\r]*)*[\n\r](?:[ \t\n\r\f\v]|--[^\n\r]*[\n\r])*'/y

class Scan {
  readonly #text: string
  readonly #escapes: boolean
  readonly #keep: number
  readonly #commands: SqlToken[][] = []
  #command: SqlToken[] = []
  #at = 0
  #parentheses = 0
  /** Of `begin atomic`, and of `case` in it; their ends are no ends of a transaction. */
  #blocks = 0
  #last = ''

  constructor(text: string, backslash: 'plain' | 'escape', keep: number) {
    this.#text = text
    this.#escapes = backslash === 'escape'
    this.#keep = keep
  }

  commands(): readonly (readonly SqlToken[])[] {
    while (this.#at < this.#text.length) this.#next()
    this.#end()
    return this.#commands
  }

  #next(): void {
    const text = this.#text
    const one = text[this.#at]!
    if (space.test(one)) this.#at += 1
    else if (text.startsWith('--', this.#at)) this.#lineComment()
    else if (text.startsWith('/*', this.#at)) this.#blockComment()
    else if (one === "'") this.#literal(this.#escapes)
    else if (one === '"') this.#quoted()
    else if (one === '$') this.#dollar()
    else if (one === ';' && this.#parentheses === 0 && this.#blocks === 0) {
      this.#at += 1
      this.#end()
    } else if (!this.#word()) this.#other(one)
  }

  #lineComment(): void {
    while (this.#at < this.#text.length && !/[\n\r]/.test(this.#text[this.#at]!)) this.#at += 1
  }

  /** They nest. */
  #blockComment(): void {
    let depth = 0
    do {
      const opens = this.#text.startsWith('/*', this.#at)
      const closes = this.#text.startsWith('*/', this.#at)
      depth += opens ? 1 : closes ? -1 : 0
      this.#at += opens || closes ? 2 : 1
    } while (depth > 0 && this.#at < this.#text.length)
  }

  /** A doubled quote is taken for an end and another beginning, which comes to the same. */
  #literal(escapes: boolean): void {
    do {
      this.#at = this.#afterQuote(this.#at + 1, escapes)
    } while (escapes && this.#goesOn())
    this.#token('other', '')
  }

  #afterQuote(from: number, escapes: boolean): number {
    if (!escapes) return after(this.#text, "'", from)
    let at = from
    while (at < this.#text.length && this.#text[at] !== "'") at += this.#text[at] === '\\' ? 2 : 1
    return at + 1
  }

  /** Moves to the quote with which an escaped literal goes on. */
  #goesOn(): boolean {
    if (this.#text[this.#at] === "'") return true
    continued.lastIndex = this.#at
    if (!continued.test(this.#text)) return false
    this.#at = continued.lastIndex - 1
    return true
  }

  #quoted(): void {
    const start = this.#at
    do {
      this.#at = after(this.#text, '"', this.#at + 1)
    } while (this.#text[this.#at] === '"')
    this.#token('quoted', this.#text.slice(start + 1, this.#at - 1).replaceAll('""', '"'))
  }

  #dollar(): void {
    dollarQuote.lastIndex = this.#at
    const [tag] = dollarQuote.exec(this.#text) ?? []
    if (tag === undefined) return this.#other('$')
    this.#at = after(this.#text, tag, this.#at + tag.length)
    this.#token('other', '')
  }

  #word(): boolean {
    word.lastIndex = this.#at
    const [found] = word.exec(this.#text) ?? []
    if (found === undefined) return false
    this.#at += found.length
    if (/^e$/i.test(found) && this.#text[this.#at] === "'") this.#literal(true)
    else
      this.#token(
        'word',
        found.replace(/[A-Z]/g, (letter) => letter.toLowerCase()),
      )
    return true
  }

  #other(one: string): void {
    this.#at += 1
    if (one === '(') this.#parentheses += 1
    if (one === ')') this.#parentheses -= 1
    this.#token('other', one)
  }

  #token(kind: SqlToken['kind'], text: string): void {
    if (this.#command.length < this.#keep) this.#command.push({ kind, text })
    if (kind === 'word' && this.#parentheses === 0) this.#block(text)
    this.#last = kind === 'word' ? text : ''
  }

  #block(text: string): void {
    if (text === 'atomic' && this.#last === 'begin' && makesRoutine(this.#command)) this.#blocks += 1
    else if (this.#blocks > 0 && text === 'case') this.#blocks += 1
    else if (this.#blocks > 0 && text === 'end') this.#blocks -= 1
  }

  #end(): void {
    if (this.#command.length > 0) this.#commands.push(this.#command)
    this.#command = []
    this.#last = ''
    this.#parentheses = 0
    this.#blocks = 0
  }
}

/** The place after the next `what`; the end of the text if there is none. */
function after(text: string, what: string, from: number): number {
  const found = text.indexOf(what, from)
  return found === -1 ? text.length + 1 : found + what.length
}

function makesRoutine(command: readonly SqlToken[]): boolean {
  const words = command.map(({ text }) => text).join(' ')
  return /^create (?:or replace )?(?:function|procedure)\b/.test(words)
}
