"""Which model the service answers with: stored models, the gate before a new one, and the watch after it."""
