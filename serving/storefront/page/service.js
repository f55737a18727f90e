// Calls of the service that this page comes from.
const products = new Map()
let authorization = {}

// A request whose answer is waited for at the service takes 6 seconds at most.
const PATIENCE = 10000

async function asked(path, options = {}) {
  const response = await fetch(path, { ...options, signal: AbortSignal.timeout(PATIENCE) }).catch(() => {
    throw new Error('the service does not answer; `make status` shows the stack')
  })
  const body = await response.json()
  if (!response.ok) throw new Error(body.error?.message || `the service answered ${response.status}`)
  return body
}

export async function get(path, query = {}) {
  return asked(`/storefront/${path}?${new URLSearchParams(query)}`)
}

// What the page begins with.
export async function openShop() {
  const shop = await get('shop')
  authorization = shop.authorization
  return shop
}

export async function recommend(body) {
  const headers = { 'Content-Type': 'application/json', ...authorization }
  return asked('/recommend', { method: 'POST', headers, body: JSON.stringify(body) })
}

// The catalogue's words for some products, by id; each product is asked for once.
export async function catalogue(ids) {
  const missing = [...new Set(ids)].filter((id) => !products.has(id))
  for (let begin = 0; begin < missing.length; begin += 100) {
    const query = missing.slice(begin, begin + 100).map((id) => ['id', id])
    for (const product of (await get('products', query)).products) products.set(product.product_id, product)
  }
  return products
}
