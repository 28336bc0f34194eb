/** The part of `pg/lib/utils.js` (an exported path of `pg`) that its type package leaves out. */
declare module 'pg/lib/utils.js' {
  /** Turns a JavaScript value into what the wire takes: text, bytes, or null. Throws for what cannot be one. */
  export function prepareValue(value: unknown): string | Buffer | null
}
