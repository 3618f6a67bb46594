"""Token streams: types, the scheduler that shares them, and the store that keeps them."""
