// The HTTP transport: each message is the body of a POST.
// https://core.telegram.org/mtproto/transports#http
import { random } from './bytes.js'
import { checkResPQ, requestPQ, transportError, underUnknownKey } from './message.js'

export async function overHTTP(url, test, show) {
  // A request without a Content-Type needs no preflight. For a Content-Type that
  // forms cannot have, the browser sends a preflight (OPTIONS) first.
  const headers = test.content_type ? { 'Content-Type': test.content_type } : {}
  const post = async (path, body) => {
    show('POST', path, body)
    const response = await fetch(new URL(path, url), { method: 'POST', body, headers })
    const answer = new Uint8Array(await response.arrayBuffer())
    show(`${response.status} ${response.statusText}`, answer)
    return { status: response.status, answer }
  }
  const exchange = async (path) => {
    const nonce = random(16)
    const { answer } = await post(path, requestPQ(nonce, test.tail))
    checkResPQ(answer, nonce)
    show('resPQ with the nonce', nonce)
  }

  if (test.withheld) {
    const read = await exchange(test.withheld).then(() => true, (error) => show('withheld', error))
    if (read) throw new Error(`${test.withheld} can be read from another origin`)
  }
  await exchange(test.path)
  if (test.unknown_key) {
    const { status, answer } = await post(test.path, underUnknownKey())
    if (status !== 404 || transportError(answer) !== 404) throw new Error(`status ${status}`)
    return 'status 404 and its body'
  }
  return test.withheld && `${test.withheld} withheld by the browser`
}
