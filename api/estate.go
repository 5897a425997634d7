package api

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/libvirt"
	"github.com/weirhq/weir/estate/xapi"
	"github.com/weirhq/weir/flow"
)

// EstateService is what the API offers of the estate, besides the snapshot.
type EstateService interface {
	Explain(query string) estate.Explanation
	Sources() []estate.SourceStatus
	Reports() []SourceReport
	At(ctx context.Context, at time.Time) ([]estate.Entity, error) // as it was stored
}

// Entity is something in the estate.
type Entity struct {
	Kind       flow.Kind         `json:"kind" doc:"pool, host, bridge, network, vm, vif, address_group, vm_group."`
	ID         flow.ID           `json:"id,string"`
	Key        string            `json:"key"`
	Name       string            `json:"name"`
	Parent     flow.ID           `json:"parent,string" doc:"Of a bridge the host, of a VIF the VM, else the pool; 0: none."`
	Pool       flow.ID           `json:"pool,string" doc:"0: none, or not known."`
	Attributes map[string]string `json:"attributes,omitempty"`
	Source     string            `json:"source,omitempty" doc:"Kinds of sources that tell of it, as file,host."`
}

// EstateAnswer is what is, or was, in the estate.
type EstateAnswer struct {
	At       time.Time             `json:"at" doc:"When that was so."`
	Entities []Entity              `json:"entities"`
	Sources  []estate.SourceStatus `json:"sources,omitempty" doc:"Of the estate as it is now: who tells of it, the most believed first."`
}

// SourceReport is how a source of the estate does.
type SourceReport struct {
	estate.SourceStatus
	XAPI     *xapi.Status    `json:"xapi,omitempty" doc:"Of a pool that is asked by XAPI."`
	Libvirt  *libvirt.Status `json:"libvirt,omitempty" doc:"Of a host that is asked by libvirt."`
	Problems []string        `json:"problems,omitempty" doc:"What is wrong, and what to do."`
}

type sourcesBody struct {
	Sources []SourceReport `json:"sources" doc:"The most believed first."`
}

type estateQuery struct {
	At     time.Time `query:"at" doc:"When, RFC 3339; default now."`
	Search string    `query:"search" maxLength:"255" doc:"Only what has this text in its name, key or attributes, in any case, and what it is part of."`
}

type explainQuery struct {
	What string `query:"what" required:"true" minLength:"1" maxLength:"255" doc:"IP or MAC address, UUID, key, id or name." example:"198.51.100.11"`
}

func (s *Server) estateRoutes(api huma.API) {
	s.inventoryRoutes(api)
	read(api, huma.Operation{
		OperationID: "get-estate", Method: http.MethodGet, Path: "/api/v1/estate", Tags: []string{"estate"},
		Summary: "What is in the estate, or was at a time",
	}, func(ctx context.Context, q *estateQuery) (*body[EstateAnswer], error) {
		a := EstateAnswer{At: q.At}
		var list []estate.Entity
		if q.At.IsZero() {
			a.At, list, a.Sources = time.Now(), s.deps.Estate().Entities(), s.deps.EstateOf.Sources()
		} else {
			var err error
			if list, err = s.deps.EstateOf.At(ctx, q.At); err != nil {
				s.deps.Log.Warn("estate query", "err", err)
				return nil, huma.Error503ServiceUnavailable(err.Error())
			}
		}
		a.Entities = search(list, q.Search)
		return &body[EstateAnswer]{a}, nil
	})
	read(api, huma.Operation{
		OperationID: "list-sources", Method: http.MethodGet, Path: "/api/v1/estate/sources", Tags: []string{"estate"},
		Summary: "Who tells of the estate, how each does, and which hosts it has in common with others",
	}, func(context.Context, *struct{}) (*body[sourcesBody], error) {
		return &body[sourcesBody]{sourcesBody{append([]SourceReport{}, s.deps.EstateOf.Reports()...)}}, nil
	})
	read(api, huma.Operation{
		OperationID: "explain-estate", Method: http.MethodGet, Path: "/api/v1/estate/explain", Tags: []string{"estate"},
		Summary: "Which source says what of something, and what a flow with it is resolved to",
	}, func(_ context.Context, q *explainQuery) (*body[estate.Explanation], error) {
		return &body[estate.Explanation]{s.deps.EstateOf.Explain(q.What)}, nil
	})
}

// search returns those of list that have a text, and what they are part of, in the order of list; all for no text. Further ids
// of an entity are not entities.
func search(list []estate.Entity, text string) []Entity {
	text = strings.ToLower(text)
	byID := make(map[flow.ID]*estate.Entity, len(list))
	for i := range list {
		byID[list[i].ID] = &list[i]
	}
	wanted := map[flow.ID]bool{}
	for i := range list {
		for e := &list[i]; e != nil && hasText(&list[i], text) && !wanted[e.ID] && list[i].SameAs == 0; e = byID[e.Parent] {
			wanted[e.ID] = true
		}
	}
	found := []Entity{}
	for _, e := range slices.DeleteFunc(slices.Clone(list), func(e estate.Entity) bool { return !wanted[e.ID] }) {
		found = append(found, entityOf(&e))
	}
	return found
}

// hasText tells whether name, key or attributes of an entity have a text, which is in lower case.
func hasText(e *estate.Entity, text string) bool {
	if strings.Contains(strings.ToLower(e.Name), text) || strings.Contains(strings.ToLower(e.Key), text) {
		return true
	}
	for _, v := range e.Attributes {
		if strings.Contains(strings.ToLower(v), text) {
			return true
		}
	}
	return false
}
