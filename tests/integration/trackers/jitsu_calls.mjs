// Sends calls as a shop's server would, with Jitsu's library; prints what it said of those that failed.
import { jitsuAnalytics } from '@jitsu/js'

const [host, key] = process.argv.slice(2)
const errors = []
console.error = (message) => errors.push(String(message))
const analytics = jitsuAnalytics({ host, writeKey: `${key}:-`, s2s: true })
await analytics.track('Product Viewed', { products: [{ product_id: 'mug-1', price: 9.5 }] })
await analytics.identify('ada', { plan: 'gold' })
await analytics.page({ name: 'Mugs' })
await analytics.track('Product Added', { product_id: 'mug-1', price: 9.5, quantity: 2 })
await analytics.group('g1', { name: 'Friends' })
console.log(JSON.stringify({ errors }))
