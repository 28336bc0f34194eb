/**
 * Refuses files named after what they are made of instead of what they are about.
 *
 * @type {import('eslint').Rule.RuleModule}
 */
export const fileName = {
  meta: {
    type: 'problem',
    schema: [],
    messages: { catchAll: 'A file called "{{name}}" collects the world. Name it after the one idea in it.' },
  },
  create(context) {
    const name = context.filename.split(/[\\/]/).at(-1) ?? ''
    if (!/^(utils?|helpers?|types?|interfaces?|common|misc)\./.test(name)) return {}
    return { Program: (node) => context.report({ node, messageId: 'catchAll', data: { name } }) }
  },
}
