package xapi

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
)

// record is a call that finds or changes one record: its parameters are the session, the record, and what to do with it.
func (p *Pool) record(s *Server, method string, params []json.RawMessage) (any, error) {
	want := map[string]int{"tunnel.get_by_uuid": 2, "pool.remove_from_other_config": 3, "tunnel.set_status": 3, "pool.add_to_other_config": 4}[method]
	var session, ref, key, value string
	status := map[string]string{}
	if len(params) != want {
		return nil, fail("MESSAGE_PARAMETER_COUNT_MISMATCH", method)
	}
	err := errors.Join(json.Unmarshal(params[0], &session), json.Unmarshal(params[1], &ref))
	switch {
	case method == "tunnel.set_status":
		err = errors.Join(err, json.Unmarshal(params[2], &status))
	case want > 2:
		err = errors.Join(err, json.Unmarshal(params[2], &key))
		if want > 3 {
			err = errors.Join(err, json.Unmarshal(params[3], &value))
		}
	}
	if err != nil || status == nil {
		return nil, fail("FIELD_TYPE_ERROR", method)
	}
	class, action, _ := strings.Cut(method, ".")

	p.mu.Lock()
	defer p.mu.Unlock()
	if action != "get_by_uuid" {
		p.changes++
	}
	switch {
	case p.master != s.Address():
		return nil, fail("HOST_IS_SLAVE", p.master)
	case !p.sessions[session]:
		return nil, fail("SESSION_INVALID", session)
	case action == "get_by_uuid":
		for r, o := range p.objects[class] {
			if o.record["uuid"] == ref {
				return r, nil
			}
		}
		return nil, fail("UUID_INVALID", class, ref)
	case p.cfg.ReadOnly:
		return nil, fail("RBAC_PERMISSION_DENIED", method, "No permission in user session")
	}
	o := p.objects[class][ref]
	if o == nil {
		return nil, fail("HANDLE_INVALID", class, ref)
	}
	field := Record{"status": status}
	if action != "set_status" {
		m := maps.Clone(o.record["other_config"].(map[string]string))
		_, there := m[key]
		switch {
		case action == "add_to_other_config" && there:
			return nil, fail("MAP_DUPLICATE_KEY", class, "other_config", ref, key)
		case action == "add_to_other_config":
			m[key] = value
		case !there:
			return "", nil
		default:
			delete(m, key)
		}
		field = Record{"other_config": m}
	}
	p.change(o, field)
	return "", nil
}

// taken returns what is to be done after a call of a method, once.
func (p *Pool) taken(method string) func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	do := p.hooks[method]
	delete(p.hooks, method)
	return do
}
