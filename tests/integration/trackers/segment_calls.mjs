// Sends events as a shop's server would, and prints the ids of those that the library calls delivered.
import { Analytics } from '@segment/analytics-node'

const [host, writeKey, count] = process.argv.slice(2)
const analytics = new Analytics({ host, writeKey, flushAt: 7, flushInterval: 50 })
const delivered = []
const errors = []
analytics.on('error', (error) => errors.push(String(error.reason ?? error.message)))
const settled = (error, context) => {
  if (!error && !context?.failedDelivery()) delivered.push(context.event.messageId)
}

for (let number = 0; number < Number(count); number++) {
  const who = number % 2 ? { userId: `u${number % 5}` } : { anonymousId: `a${number % 5}` }
  const properties = { products: [{ product_id: `p${number}`, price: 9.5, quantity: 1 }] }
  analytics.track({ ...who, event: 'Product Viewed', properties }, settled)
}
const hoursAgo = new Date(Date.now() - 3 * 3600 * 1000)
analytics.track({ userId: 'late', event: 'Cart Viewed', timestamp: hoursAgo }, settled)
analytics.identify({ userId: 'all', anonymousId: 'a-all', traits: { plan: 'gold' } }, settled)
analytics.page({ userId: 'all', name: 'Home', properties: { url: 'https://shop.example/' } }, settled)
analytics.screen({ userId: 'all', name: 'Home' }, settled)
analytics.group({ userId: 'all', groupId: 'g1', traits: { name: 'Friends' } }, settled)
analytics.alias({ userId: 'all', previousId: 'a-all' }, settled)
await analytics.closeAndFlush({ timeout: 20000 })
console.log(JSON.stringify({ delivered, errors }))
