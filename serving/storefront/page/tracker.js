// Events by Segment's library, as a shop would send them: its settings come from this service, and name no other host.
const PATIENCE = 8000
let analytics = null

export async function open(shop) {
  if (!shop.segment) throw new Error('Segment\'s library is not installed, so no events are sent. Run: .venv/bin/python -m deploy.setup_browser_library')
  await new Promise((resolve, reject) => {
    const script = document.createElement('script')
    script.src = '/storefront/segment/index.js'
    script.onload = resolve
    script.onerror = () => reject(new Error('Segment\'s library cannot be loaded, so no events are sent. Run: .venv/bin/python -m deploy.setup_browser_library'))
    document.head.append(script)
  })
  const options = { storage: { stores: ['localStorage'] } } // no cookies
  const settings = { writeKey: shop.write_key, cdnSettings: shop.segment }
  ;[analytics] = await AnalyticsNext.AnalyticsBrowser.load(settings, options)
}

export async function become(who) {
  if (!analytics) return
  const user = analytics.user()
  if (who.known ? user.id() === who.id : !user.id() && user.anonymousId() === who.id) return
  analytics.reset()
  if (who.known) await analytics.identify(who.id)
  else analytics.setAnonymousId(who.id)
}

// The event's message id, when Kafka has acknowledged it.
export async function track(who, event, properties) {
  if (!analytics) return null
  await become(who) // the library keeps one customer for all tabs
  const late = new Promise((_, reject) => setTimeout(reject, PATIENCE, new Error('the collector does not take events; `make status` shows the stack')))
  const context = await Promise.race([analytics.track(event, properties), late])
  if (context.failedDelivery?.()) throw new Error(`${event} was not taken by the collector; \`make status\` shows the stack`)
  return context.event.messageId
}
