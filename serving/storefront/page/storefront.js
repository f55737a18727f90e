// The shop: who is shopping, what is on the shelves, and what follows from a click.
import { showCustomer, showModel, showWay } from '/storefront/page/inside.js'
import { $, age, element, price, tile, title } from '/storefront/page/page_parts.js'
import { keep, recall } from '/storefront/page/remembered.js'
import { catalogue, get, openShop, recommend } from '/storefront/page/service.js'
import * as tracker from '/storefront/page/tracker.js'

const K = 10
const PATIENCE = 30000 // a stream that has just started takes seconds for its first events
const shown = new Map() // product ids by shelf
let shop, who, known, cart = [], category = null, found = null, following = Promise.resolve(), sending = false, lasting = ''

const ids = () => (who.known ? { user_id: who.id } : { anonymous_id: who.id })
const hint = (text) => { $('hint').textContent = text; $('hint').hidden = !text }
const guarded = (action) => (event) => { event?.preventDefault(); Promise.resolve(action(event)).then(() => hint(lasting), (error) => hint(error.message)) }
const soldOut = (product) => product.stock === 0
const fields = ({ product_id, name, category, brand, price }) =>
  Object.fromEntries(Object.entries({ product_id, name, category, brand, price }).filter(([, value]) => value != null))

function newVisitor() {
  const bytes = crypto.getRandomValues(new Uint8Array(6))
  return { known: false, id: `visitor-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}` }
}

async function shelvesWanted() {
  const last = known.recent.find((one) => ['clicked', 'viewed', 'added'].includes(one.action))?.product_id
  const name = last && title((await catalogue([last])).get(last))
  return [
    ['home', 'For you', { scenario: 'home' }],
    ['viewed', `Because you viewed ${name}`, last && { scenario: 'product', context_items: [last] }],
    ['cart-shelf', 'Goes with your cart', { scenario: 'cart' }],
    ['trending', 'Trending now', { scenario: 'trending' }],
    ...(found ? [] : [['browse', category, category && { scenario: 'category', filters: { category } }]]),
  ]
}

// Ask for all shelves; whether those that are the customer's own changed.
async function refresh() {
  const wanted = await shelvesWanted()
  const answers = await Promise.all(wanted.map(([, , ask]) => ask && recommend({ ...ids(), ...ask, k: ask.scenario === 'category' ? 24 : K })))
  const products = await catalogue(answers.flatMap((answer) => answer?.items.map((item) => item.product_id) || []))
  let changed = 0
  wanted.forEach(([shelf, heading, ask], place) => {
    const answer = answers[place]
    const empty = !answer?.items.length || (ask.scenario === 'cart' && answer.fallback)
    if (shelf === 'home') showModel(answer)
    changed += showShelf(shelf, heading, empty ? [] : answer.items, products, answer?.request_id)
  })
  if (changed) $('news').textContent = `${changed} products on the shelves are new`
  return changed > 0
}

// Show items with their reasons; how many are at another place than before.
function showShelf(shelf, heading, items, products, requestId) {
  const before = shown.get(shelf)
  const now = items.map((item) => item.product_id)
  const moved = now.filter((id, place) => before?.[place] !== id).length
  shown.set(shelf, now)
  $(shelf).hidden = !now.length
  if (!now.length) return before?.length || 0
  const focused = document.activeElement?.dataset.place
  $(shelf).replaceChildren(element('h2', {}, heading), element('ul', {}, ...items.map((item, place) => {
    const product = products.get(item.product_id)
    const fresh = before && !before.includes(item.product_id)
    const card = element('button', { type: 'button', className: fresh ? 'card fresh' : 'card' },
      tile(product), element('span', { className: 'name' }, title(product)),
      element('span', { className: 'price' }, price(product)), element('span', { className: 'reason' }, soldOut(product) ? 'sold out' : item.reason))
    card.dataset.place = `${shelf} ${place}`
    card.dataset.product = item.product_id
    card.onclick = guarded(() => view(product, { list_id: shelf, position: place + 1 }))
    return element('li', {}, card)
  })))
  if (focused && !document.activeElement?.dataset.place) document.querySelector(`[data-place="${focused}"]`)?.focus()
  if (moved && requestId && sending) {
    const list = now.map((product_id, place) => ({ product_id, position: place + 1 }))
    tracker.track(who, 'Product List Viewed', { list_id: shelf, request_id: requestId, products: list }).catch((error) => hint(error.message))
  }
  return moved
}

const addressed = () => new URLSearchParams(location.hash.slice(1)).get('product')

// The product that the address names, as after going back, or none.
async function showAddressed() {
  const id = addressed()
  $('product').hidden = !id
  if (id) showProduct((await catalogue([id])).get(id))
}

async function view(product, place) {
  if (addressed() !== product.product_id) history.pushState(null, '', `#${new URLSearchParams({ product: product.product_id })}`)
  showProduct(product)
  if (sending) tracker.track(who, 'Product Clicked', { ...fields(product), ...place }).catch((error) => hint(error.message))
  await send('Product Viewed', product, fields(product), 'viewed')
}

function showProduct(product) {
  const add = element('button', { id: 'add', type: 'button', className: 'primary', disabled: soldOut(product) }, soldOut(product) ? 'Sold out' : 'Add to cart')
  add.onclick = guarded(async () => {
    cart.push(product)
    showCart()
    await send('Product Added', product, { ...fields(product), quantity: 1 }, 'added')
  })
  $('product').replaceChildren(tile(product), element('div', {}, element('h2', {}, title(product)),
    element('p', { className: 'faint' }, [product.category, product.brand].filter(Boolean).join(' · ')),
    element('p', { className: 'price' }, price(product)), add))
  $('product').hidden = false
  $('product').focus()
}

function showCart() {
  $('cart-open').textContent = `Cart (${cart.length})`
  $('buy').disabled = !cart.length
  const lines = cart.map((product, place) => {
    const remove = element('button', { type: 'button', ariaLabel: `Remove ${title(product)}` }, 'Remove')
    remove.onclick = guarded(async () => {
      cart.splice(place, 1)
      showCart()
      await send('Product Removed', product, { ...fields(product), quantity: 1 }, 'removed')
    })
    return element('p', {}, element('span', {}, title(product)), element('span', {}, price(product)), remove)
  })
  const last = cart.length ? element('p', { className: 'total' }, element('span', {}, 'Together'), element('span', {}, total())) : element('p', { className: 'faint' }, 'Nothing yet.')
  $('cart-lines').replaceChildren(...lines, last)
  keep(`storefront-cart ${who.id}`, cart)
}

const sum = () => cart.reduce((so_far, product) => so_far + (product.price || 0), 0)
const total = () => price({ price: sum(), currency: cart[0].currency })

async function buy() {
  const products = cart.map((product) => ({ ...fields(product), quantity: 1 }))
  const first = cart[0]
  const order_id = `storefront-${newVisitor().id}`
  const revenue = sum()
  const bought = `Ordered: ${cart.map(title).join(', ')}, together ${total()}. Thank you!`
  cart = []
  showCart()
  $('cart').close()
  hint(bought)
  const money = first.currency ? { currency: first.currency } : {}
  await send('Order Completed', first, { order_id, revenue, ...money, products }, 'ordered')
  await new Promise((resolve) => setTimeout(resolve, 3000)) // to be read
}

// Send an event, and follow it on its way until the shelves have been asked for again.
async function send(event, product, properties, action) {
  if (!sending) return
  // What is newer than all that was known before is this event: several may arrive together.
  const begun = { at: performance.now(), date: Date.now(), after: known.recent[0]?.at || 0 }
  const sent = tracker.track(who, event, properties).then((id) => ({ id, took: performance.now() - begun.at }))
  const of = who
  const followed = following.then(() => (of === who ? follow(`${event}: ${title(product)}`, product, action, begun, sent) : null))
  following = followed.catch(() => null)
  await followed
}

async function follow(what, product, action, begun, sent) {
  const times = {}
  const since = () => performance.now() - begun.at
  showWay(what, times)
  const look = () => get('customer', { id: who.id, product_id: product.product_id, action, after: begun.after })
  const watched = look()
  const { id, took } = await sent
  times.kafka = took
  showWay(what, times)
  let now = await watched
  while (!now.seen && since() < PATIENCE) now = await look()
  known = now
  const skew = now.now - Date.now() // of the service's clock, about
  times.feature = now.seen ? since() : 'not in time'
  times.changed = (await refresh()) ? since() : 'no change'
  showWay(what, times)
  showCustomer(who, known)
  const oneMachine = Math.abs(skew) < 1000
  const way = await get('way', { message_id: id, since: begun.date + (oneMachine ? 0 : skew) - 2000 })
  const moment = (at) => (at == null ? 'not known' : at - begun.date - (oneMachine ? 0 : skew))
  times.accepted = moment(way.received_at)
  times.processed = moment(way.checked_at)
  showWay(what, times)
}

async function become(someone) {
  who = someone
  keep('storefront-customer', who)
  cart = recall(`storefront-cart ${who.id}`, Array.isArray, () => [])
  showCart()
  $('who').textContent = who.known ? `Customer ${who.id}` : 'Visitor'
  shown.clear()
  $('product').hidden = true
  if (document.body.dataset.ready) history.replaceState(null, '', location.pathname)
  if (sending) await tracker.become(who)
  known = await get('customer', { id: who.id })
  showCustomer(who, known)
  await refresh()
}

async function choose() {
  $('customer').showModal()
  const { customers } = await get('customers')
  $('offered').replaceChildren(...customers.map((one) => {
    const button = element('button', { type: 'button' }, `${one.customer_id} · ${one.event_count} events, ${age(Date.now() - one.last_event_at)} ago`)
    button.onclick = guarded(() => { $('customer').close(); return become({ known: true, id: one.customer_id }) })
    return button
  }))
}

function showCategories() {
  const departments = [...new Set(shop.categories.map((one) => one.path.split('/')[0]))]
  const within = category ? shop.categories.map((one) => one.path).filter((path) => path.startsWith(`${category.split('/')[0]}/`)) : []
  $('categories').replaceChildren(...[...departments, ...within].map((path) => {
    const button = element('button', { type: 'button', ariaPressed: String(path === category) }, path.split('/').pop())
    button.onclick = guarded(() => {
      category = path === category ? null : path
      found = null
      shown.delete('browse')
      showCategories()
      return refresh()
    })
    return button
  }))
}

async function search() {
  const words = $('words').value.trim()
  category = null
  showCategories()
  shown.delete('browse')
  found = words ? (await get('search', { q: words })).products : null
  const items = (found || []).map((product_id) => ({ product_id, reason: '' }))
  showShelf('browse', `Found for “${words}”`, items, await catalogue(items.map((item) => item.product_id)))
  if (!words || items.length) return
  $('browse').replaceChildren(element('h2', {}, `Nothing was found for “${words}”`))
  $('browse').hidden = false
  $('news').textContent = 'nothing found'
}

async function begin() {
  shop = await openShop()
  try {
    await tracker.open(shop)
    sending = true
  } catch (error) {
    lasting = error.message
  }
  if (!shop.products) lasting = 'There is no catalogue yet. Load one: .venv/bin/python -m ingestion catalog FILE'
  hint(lasting)
  $('who').onclick = guarded(choose)
  $('new-visitor').onclick = guarded(() => { $('customer').close(); return become(newVisitor()) })
  $('become').onsubmit = guarded(() => {
    const id = $('customer-id').value.trim()
    if (!id) return
    $('customer').close()
    return become({ known: true, id })
  })
  $('search').onsubmit = guarded(search)
  $('cart-open').onclick = () => $('cart').showModal()
  $('buy').onclick = guarded(buy)
  document.querySelectorAll('.close').forEach((button) => { button.onclick = () => button.closest('dialog').close() })
  showCategories()
  const isCustomer = (one) => typeof one?.id === 'string' && typeof one.known === 'boolean'
  await become(recall('storefront-customer', isCustomer, newVisitor))
  window.onpopstate = guarded(showAddressed)
  await showAddressed()
  document.body.dataset.ready = 'yes'
}

begin().catch((error) => hint(error.message))
