/** A value now, or later. Work that needs no waiting stays synchronous, which is most of it and much cheaper. */
export type Eventual<Value> = Value | Promise<Value>

/** Goes on with a value at once if it is there, else when it arrives. */
export function whenReady<Value, Next>(value: Eventual<Value>, next: (value: Value) => Eventual<Next>): Eventual<Next> {
  return isPromiseLike(value) ? Promise.resolve(value).then(next) : next(value)
}

/** Is this a promise, of whatever library? */
export function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}
