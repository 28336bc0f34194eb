/**
 * Takes what looks like a password out of a text that quotes what was typed: a connection string in the wrong place is a common slip, and output
 * ends up in logs.
 */
export function withoutSecrets(text: string): string {
  return text
    .replace(/(?:[a-z][a-z0-9+.-]*:\/\/)?[^\s"':/@]+:(?!\/\/)[^\s"']*@[^\s"']+/gi, '[a connection string]')
    .replace(/\bpass(?:word|wd)?\s*=\s*[^\s"'&]+/gi, 'password=[hidden]')
}
