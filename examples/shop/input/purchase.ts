/** One line of the input: what a customer bought on a day. */
export interface Purchase {
  /** The line's columns and its number among identical lines, for example `00004:0001:19970101:2:29.33:1`. */
  readonly orderId: string
  readonly customer: string
  /** UTC day, `YYYY-MM-DD`. */
  readonly day: string
  /** Number of CDs. */
  readonly units: number
  /** Value in cents. */
  readonly cents: number
}
