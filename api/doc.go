// Package api serves people and programs over HTTP: the status page at /, Prometheus metrics at /metrics, health at
// /healthz, and everything else as JSON under /api/v1, described by OpenAPI 3.1 at /api/v1/openapi.json.
//
// It mounts what the services offer and adds no meaning of its own. Until Weir has users it answers on loopback
// only, to reads only, and only to requests that name a loopback host, so that a page in a browser cannot reach it
// by a DNS name of its own (DNS rebinding). Calls that change something are taken on a unix socket of this user only, which serves the rest, too.
package api
