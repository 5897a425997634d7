// Package api serves people and programs over HTTP: the status page at /, Prometheus metrics at /metrics, health at
// /healthz, and everything else as JSON under /api/v1, described by OpenAPI 3.1 at /api/v1/openapi.json.
//
// It mounts what the services offer and adds no meaning of its own, but for who may ask: over TCP that is known by a session or a token, over a unix
// socket of this user only it is the machine's superuser. The table of operations says what each takes. A collector alone has no users: it answers reads, on
// loopback only. On loopback only requests that name a loopback host are answered, so that a page in a browser cannot reach it by a DNS name of
// its own (DNS rebinding).
package api
