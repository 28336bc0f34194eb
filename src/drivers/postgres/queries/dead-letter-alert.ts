import type { AlertState } from '../../../dead-letter/alert/alert-machine.ts'
import type { Contact } from '../../../dead-letter/alert/port.ts'
import type { Statement } from '../statement-run.ts'

/** Statements on the tables of alerts. `schema` is the quoted name everywhere. */

export function noteContacts(schema: string, contacts: readonly Contact[]): Statement {
  return {
    text: `insert into ${schema}.consumer_contact (group_name, owner, runbook) select * from unnest($1::text[], $2::text[], $3::text[])
on conflict (group_name) do update set owner = excluded.owner, runbook = excluded.runbook`,
    params: [contacts.map(({ group }) => group), contacts.map(({ owner }) => owner), contacts.map(({ runbook }) => runbook)],
  }
}

export function readContacts(schema: string): Statement {
  return { text: `select group_name, owner, runbook from ${schema}.consumer_contact order by group_name` }
}

export function takeWatch(schema: string, holder: string, leaseMs: number): Statement {
  return {
    text: `update ${schema}.dead_letter_watch set holder = $1, held_until = clock_timestamp() + $2 * interval '1 millisecond'
where holder is null or holder = $1 or held_until < clock_timestamp() returning true as held`,
    params: [holder, leaseMs],
  }
}

export function endWatch(schema: string, holder: string): Statement {
  return { text: `update ${schema}.dead_letter_watch set holder = null where holder = $1`, params: [holder] }
}

export function readAlerts(schema: string): Statement {
  return { text: `select group_name, state from ${schema}.dead_letter_alert` }
}

/** The watch is locked by the same statement, so that nobody takes it over in between. */
export function saveAlert(schema: string, holder: string, group: string, state: AlertState): Statement {
  return {
    text: `with held as (select from ${schema}.dead_letter_watch where holder = $1 for share)
insert into ${schema}.dead_letter_alert (group_name, state) select $2, $3::json from held
on conflict (group_name) do update set state = excluded.state`,
    params: [holder, group, JSON.stringify(state)],
  }
}

export function removeAlert(schema: string, holder: string, group: string): Statement {
  return {
    text: `with held as (select from ${schema}.dead_letter_watch where holder = $1 for share),
gone as (delete from ${schema}.dead_letter_alert where group_name = $2 and exists (select from held))
select from held`,
    params: [holder, group],
  }
}
