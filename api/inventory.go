package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/state"
)

// KindPath says which kind of entity is meant.
type KindPath struct {
	Kind string `path:"kind" enum:"pool,host,bridge,network,vm,vif,address_group,vm_group" doc:"Kind of entity."`
}

type entitiesQuery struct {
	KindPath
	PageQuery
	Pool   string `query:"pool" maxLength:"256" doc:"In this pool: its name, UUID or id."`
	Parent string `query:"parent" maxLength:"20" doc:"Of this one, by id: VIFs of a VM, bridges of a host."`
	Group  string `query:"vm_group" maxLength:"256" doc:"VMs that are in this VM group now and have a VIF: its name, UUID or id."`
	Search string `query:"search" maxLength:"255" doc:"With this text in its name, key or attributes, in any case."`
}

type entitiesBody struct {
	Entities []Entity `json:"entities" doc:"By name."`
	Total    int      `json:"total" doc:"Of that kind that were asked for, on all pages."`
	Page
}

type entityPath struct {
	KindPath
	Entity string `path:"entity" maxLength:"256" doc:"Id, UUID, key, or name where only one has it."`
}

func entityOf(e *estate.Entity) Entity {
	return Entity{e.Kind, e.ID, e.Key, e.Name, e.Parent, e.Pool, e.Attributes, e.Source}
}

// inventoryRoutes are what exists, by kind.
func (s *Server) inventoryRoutes(api huma.API) {
	read(api, huma.Operation{
		OperationID: "list-entities", Method: http.MethodGet, Path: "/api/v1/estate/{kind}", Tags: []string{"estate"},
		Summary: "Pools, hosts, networks, VMs, VIFs or groups, in pages", Errors: []int{http.StatusNotFound},
	}, func(_ context.Context, q *entitiesQuery) (*body[entitiesBody], error) {
		snapshot, kind := s.deps.Estate(), flow.Kind(q.Kind)
		pool, err := find(snapshot, flow.KindPool, q.Pool)
		if err != nil {
			return nil, unfound("pool", err)
		}
		parent := uint64(0)
		if q.Parent != "" {
			if parent, err = strconv.ParseUint(q.Parent, 10, 64); err != nil {
				return nil, wrong("parent", fmt.Errorf("found %q, want an id", q.Parent))
			}
		}
		group, err := find(snapshot, flow.KindVMGroup, q.Group)
		if err != nil {
			return nil, unfound("vm_group", err)
		}
		var members map[flow.ID]bool
		if group != 0 {
			members = snapshot.MembersOf(group)
		}
		text := strings.ToLower(q.Search)
		var list []*estate.Entity
		entities := snapshot.Entities()
		for i := range entities {
			e := &entities[i]
			if e.Kind == kind && e.SameAs == 0 && (pool == 0 || e.Pool == pool) && (parent == 0 || e.Parent == flow.ID(parent)) && (group == 0 || members[e.ID]) && hasText(e, text) {
				list = append(list, e)
			}
		}
		page, next, err := paginate(list, &q.PageQuery, func(e *estate.Entity) string { return fmt.Sprintf("%s\x00%020d", e.Name, e.ID) })
		if err != nil {
			return nil, err
		}
		answer := entitiesBody{Entities: make([]Entity, len(page)), Total: len(list), Page: next}
		for i, e := range page {
			answer.Entities[i] = entityOf(e)
		}
		return &body[entitiesBody]{answer}, nil
	})
	read(api, huma.Operation{
		OperationID: "get-entity", Method: http.MethodGet, Path: "/api/v1/estate/{kind}/{entity}", Tags: []string{"estate"},
		Summary: "One of them", Errors: []int{http.StatusNotFound},
	}, func(_ context.Context, p *entityPath) (*body[Entity], error) {
		snapshot := s.deps.Estate()
		id, err := find(snapshot, flow.Kind(p.Kind), p.Entity)
		if err != nil {
			return nil, huma.Error404NotFound(err.Error())
		}
		e, ok := snapshot.Entity(id)
		if !ok || e.Kind != flow.Kind(p.Kind) {
			return nil, huma.Error404NotFound(fmt.Sprintf("find %s %q: %v", p.Kind, p.Entity, state.ErrNotFound))
		}
		return &body[Entity]{entityOf(&e)}, nil
	})
}
