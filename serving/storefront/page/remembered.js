// What the page remembers: in this tab, so that two tabs may be two customers; and for the next one, which begins where one ended.
export function recall(key, fits, otherwise) {
  for (const store of [sessionStorage, localStorage]) {
    try {
      const value = JSON.parse(store.getItem(key))
      if (fits(value)) return value
    } catch {
      store.removeItem(key) // written by somebody else
    }
  }
  return otherwise()
}

export function keep(key, value) {
  for (const store of [sessionStorage, localStorage]) store.setItem(key, JSON.stringify(value))
}
