import type { Notice, Notify } from './notice.ts'

/** As much of a logger as is needed; `console` and pino fit. */
export interface NoticeLog {
  info(text: string): void
  warn(text: string): void
  error(text: string): void
}

/** Tells a log, one line for each notice. @default `console` */
export function logNotifier(log: NoticeLog = console): Notify {
  return (notice) => {
    const line = lineOf(notice)
    if (notice.severity === 'critical') log.error(line)
    else if (notice.severity === 'warning') log.warn(line)
    else log.info(line)
  }
}

function lineOf({ title, details, eventId, owner, runbook }: Notice): string {
  const more = [
    ...(eventId === null ? [] : [`event ${eventId}`]),
    ...(owner === null ? [] : [`owner ${owner}`]),
    ...(runbook === null ? [] : [`runbook ${runbook}`]),
  ]
  return `${title}. ${details}${more.length === 0 ? '' : ` (${more.join(', ')})`}`
}
