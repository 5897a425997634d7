// Package embedded is the ClickHouse that needs no installation: it loads the engine (libchdb, package chdb) into its process and serves
// the ClickHouse HTTP interface, so that clickhouse-go, curl, Grafana, DBeaver and @clickhouse/client reach it as they would any server.
//
//	HTTP request ─► user, limits ─► statement (tokens) ─► session of the engine ─► pipe ─► (re-encode) ─► compress ─► response
//	                                                     USE, SET, readonly        formatted by the engine
//
// It runs in a process of its own (weir store): Supervisor starts that process, hands it the listening socket and the read end of a pipe,
// and starts it again when it crashes; the process ends when the pipe closes, so that a killed parent leaves nothing behind.
//
// # What it is not
//
// There are two users (Users), no others and no SQL access management; no sessions (session_id), no query_log, no Keeper, no
// native TCP protocol, no external tables. An INSERT is always synchronous: it is acknowledged once its parts are written.
//
// # What a statement may touch
//
// Neither user reaches files, processes or other hosts through SQL, and there are three fences around that, since an embedded engine
// trusts its program and checks less than a server does:
//
//   - The engine's only account has no grant on any source (file, url, s3, remote, mysql, …), which is checked at execution and so
//     cannot be circumvented by spelling. readonly=1 alone would let DESCRIBE file(…) and the files-as-tables of the embedded
//     database through.
//   - What the engine does not check is refused by name before it runs (screen): the functions file() and eval(), INTO OUTFILE, FROM
//     INFILE, table engines and dictionary sources outside a list, disk(…), ATTACH … FROM, BACKUP and RESTORE; settings that name files or
//     hold SQL, formats that need such settings; and the terminal commands of the engine's client part (\i file).
//   - The read-only user runs under readonly=1 besides, with its settings checked against a list and clamped, in a session that is thrown
//     away after the statement.
package embedded
