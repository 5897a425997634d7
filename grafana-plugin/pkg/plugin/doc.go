// Package plugin is the data source as Grafana knows it: queries, health and resources of one instance.
//
//	target ──► model.Parse ──► role ──► Plan ──► names known? ──► clickhouse.Query ──► frame.Build
//
// It decides who may run a statement of their own, and says whose mistake an error is: the author's of a query (400), what stands
// behind the data source (502, 504), or ours (500).
//
// Resources, all in JSON; an error has the properties message, hint, part and position (bytes from 1):
//
//	GET  schema                          what editors offer: fields, units, kinds, macros, …
//	GET  values?field=vm&prefix=db&limit=20   values that a field has, by a look-up that is bounded
//	POST check     {filter} or {sql} or {query}       {ok} or what is wrong and where
//	POST preview   {query, from, to}     {sql} that would run
//	GET  exporters                       {exporters}: who sent what, when last
package plugin
