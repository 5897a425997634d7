// Package xapi stands in for the management API of a pool of XenServer or XCP-ng hosts: JSON-RPC 2.0 over TLS at every host, an
// in-memory database, sessions, and event.from with the semantics of the real one as far as its clients meet them.
//
//   - The coordinator alone serves; other hosts answer HOST_IS_SLAVE with its address.
//   - event.from takes classes and a token. "" gives every record as add; a token what changed since: several changes of a record are one
//     event with the latest record, a record that came and went is none. It waits until there is something, or the timeout, and batches.
//   - valid_ref_counts has how many records of each class there are.
//   - Integers are decimal strings, unless Config.Numbers.
//   - pool.remove_from_other_config removes a key or nothing, pool.add_to_other_config refuses one that is there (MAP_DUPLICATE_KEY),
//     tunnel.set_status replaces the whole map; a read-only role may call none of them (RBAC_PERMISSION_DENIED).
//   - A restart ends all sessions and forgets what was deleted; tokens of before may mean something else.
//
// No real XAPI was at hand to compare with; what it does was taken from its documentation.
package xapi
