// What the bridges have in common. nativeSend is a binding of the DevTools protocol.
const base64 = (buffer) => new Uint8Array(buffer).toBase64()
const bytes = (text) => Uint8Array.fromBase64(text).buffer
const remove = (target, name) => Object.defineProperty(target, name, { value: undefined, configurable: true })

// policy puts a policy of the app into the page, before its script runs.
const policy = (content) => {
  const meta = document.createElement('meta')
  meta.httpEquiv = 'Content-Security-Policy'
  meta.content = content.replaceAll('HOST', location.host)
  const insert = () => {
    if (!document.head) return
    document.head.prepend(meta)
    watcher.disconnect()
    globalThis.policyInstalled = true
  }
  const watcher = new MutationObserver(insert)
  watcher.observe(document, { childList: true, subtree: true })
  insert()
}
