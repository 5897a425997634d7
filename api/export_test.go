package api

// StopGrace is what tests look at besides the exported names.
const StopGrace = stopGrace
