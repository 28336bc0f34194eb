/**
 * The `traceparent` of W3C Trace Context, and where a new message takes it from.
 * Source: https://www.w3.org/TR/trace-context/#traceparent-header
 */

/** The form of version 00: `00-<32 hex>-<16 hex>-<2 hex>`, lower case, neither id all zero. */
export function isTraceparent(text: string): boolean {
  return /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/.test(text)
}

// The names under which @opentelemetry/api 1.x shares its state between copies of itself (its global-utils.ts, context.ts, context-utils.ts).
const apiKey = Symbol.for('opentelemetry.js.api.1')
const spanKey = Symbol.for('OpenTelemetry Context Key SPAN')

interface OpenTelemetryApi {
  readonly context?: {
    active(): {
      getValue(
        key: symbol,
      ): { spanContext(): { readonly traceId: string; readonly spanId: string; readonly traceFlags: number } } | undefined
    }
  }
}

/** The active OpenTelemetry span as a `traceparent`, if the process has loaded OpenTelemetry and a span is active. */
export function activeTraceparent(): string | undefined {
  const api = (globalThis as { readonly [key: symbol]: unknown })[apiKey] as OpenTelemetryApi | undefined
  if (api?.context === undefined) return undefined
  try {
    const span = api.context.active().getValue(spanKey)?.spanContext()
    if (span === undefined) return undefined
    const text = `00-${span.traceId}-${span.spanId}-${(span.traceFlags & 0xff).toString(16).padStart(2, '0')}`
    return isTraceparent(text) ? text : undefined
  } catch {
    // Tracing must never fail a publish, whatever stands behind that global.
    return undefined
  }
}
